"""Write the generated parts of the documents, between ``<!-- generated: NAME -->`` and ``<!-- end -->``.

python docs/generate.py            # write them
python docs/generate.py --check    # say which are out of date, and fail if any is
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from onnxsal import hookspecs, plugins
from onnxsal.entries import Entry, Option
from onnxsal.plugins import OURS, registry

ROOT = Path(__file__).resolve().parent.parent
BLOCK = re.compile(r"(<!-- generated: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Return a Markdown table."""
    head = list(head)
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def support() -> str:
    """What is built in, kind by kind."""
    return table(("kind", "names"), ([kind, ", ".join(f"`{e.name}`" for e in ours(kind))] for kind in shown()))


def reference() -> str:
    """What is built in, with sources and options."""
    return "\n".join(f"## {kind}\n\n" + "\n".join(map(_described, ours(kind))) for kind in shown())


def shown() -> list[str]:
    """The kinds that have entries of ours; operators have a table of their own."""
    return [kind for kind in plugins.kinds() if kind != "operators" and ours(kind)]


def ours(kind: str) -> list[Entry]:
    """The entries of a kind that come with the package."""
    return [entry for entry, provider in registry().items(kind) if provider.distribution == OURS]


def _described(entry: Entry) -> str:
    """An entry's documentation under its name."""
    about = re.split(r"^(?:Args|Returns|Raises):$", _document(entry), maxsplit=1, flags=re.MULTILINE)[0].strip()
    rows = [[f"`{o.name}`", o.type_name.replace("|", "\\|"), _default(o), o.help] for o in entry.options.values()]
    options = table(("option", "type", "default", "what it does"), rows) if rows else ""
    return f"### `{entry.name}`\n\n{about}\n" + (f"\n{options}" if options else "")


def _document(entry: Entry) -> str:
    return (inspect.getdoc(entry.function) if entry.function else None) or entry.summary


def _default(option: Option) -> str:
    return "required" if option.required else f"`{option.default}`" if str(option.default) else "none"


def hooks() -> str:
    """The hooks of the contract."""
    rows = [
        [
            f"`onnxsal_{kind}`",
            f"`{plugins.entry_type(kind).__name__}`",
            _first_line(getattr(hookspecs, f"onnxsal_{kind}")),
        ]
        for kind in plugins.kinds()
    ]
    return table(("hook", "yields", "for"), rows)


def floors() -> str:
    """The floors of the house, from top to bottom."""
    from tests.test_layers import FLOORS

    return (
        "\n".join(f"{i}. " + ", ".join(f"`{room}`" for room in sorted(f)) for i, f in enumerate(reversed(FLOORS), 1))
        + "\n"
    )


def captum() -> str:
    """Captum's methods, and what to say in their place."""
    from tests.oracle.captum_names import KINDS, command

    titles = {"input": "Inputs", "layer": "Layers", "neuron": "Neurons"}
    head = ("Captum", "onnxsal", "what differs")
    return "\n".join(
        f"## {titles[kind]}\n\n"
        + table(head, ([f"`{name}`", f"`{command(name)}`", o.remark] for name, o in ours.items()))
        for kind, ours in KINDS.items()
    )


def _first_line(function: object) -> str:
    return (inspect.getdoc(function) or "").splitlines()[0]


BLOCKS: dict[str, Callable[[], str]] = {
    "support": support,
    "reference": reference,
    "hooks": hooks,
    "floors": floors,
    "captum": captum,
}


def fresh(text: str) -> str:
    """Return a document with its generated parts as they should be."""
    return BLOCK.sub(lambda match: match[1] + BLOCKS[match[2]]() + match[3], text)


def documents() -> list[Path]:
    """Return the documents that have generated parts."""
    return [p for p in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))) if BLOCK.search(p.read_text())]


def main() -> int:
    """Write or check every document."""
    stale = [path for path in documents() if fresh(path.read_text()) != path.read_text()]
    for path in stale:
        print(
            f"{path.relative_to(ROOT)} is out of date" if "--check" in sys.argv else f"wrote {path.relative_to(ROOT)}"
        )
        if "--check" not in sys.argv:
            path.write_text(fresh(path.read_text()))
    return int(bool(stale) and "--check" in sys.argv)


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    raise SystemExit(main())
