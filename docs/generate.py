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
from onnxsal.plugins import OURS, registry

ROOT = Path(__file__).resolve().parent.parent
BLOCK = re.compile(r"(<!-- generated: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
SHOWN = ("methods", "baselines", "readers", "presets", "formats", "devices", "engines")


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Return a Markdown table."""
    head = list(head)
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def support() -> str:
    """What is built in, kind by kind."""
    rows = [
        [kind if i == 0 else "", f"`{entry.name}`", entry.summary]
        for kind in SHOWN
        for i, entry in enumerate(e for e, provider in registry().items(kind) if provider.distribution == OURS)
    ]
    return table(("", "name", "what it does"), rows)


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


def _first_line(function: object) -> str:
    return (inspect.getdoc(function) or "").splitlines()[0]


BLOCKS: dict[str, Callable[[], str]] = {"support": support, "hooks": hooks, "floors": floors}


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
