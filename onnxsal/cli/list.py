"""``onnxsal list``: what is installed, and who brings it."""

from __future__ import annotations

import dataclasses
import inspect
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import click

from onnxsal.cli import _tables
from onnxsal.cli._messages import Messages, message_options
from onnxsal.cli._options import json_option
from onnxsal.entries import Entry, InnerMethod, Method, Option
from onnxsal.errors import UsageError, nearest
from onnxsal.plugins import Provider, entry_type, kinds, registry

ABOUT = {
    "methods": "ways to explain",
    "baselines": "what a method may compare an input with",
    "masks": "which elements of an input are one feature",
    "readers": "ways to read inputs",
    "presets": "how pictures are prepared for families of models",
    "formats": "ways to write results",
    "devices": "kinds of device",
    "engines": "what runs the model",
    "metrics": "measures of explanations",
    "executors": "ways to run many requests",
    "operators": "ONNX operators the importer knows",
    "rules": "ways back through operators, by family of methods",
    "plugins": "installed packages that bring any of these",
}

SET_BY = {
    "methods": "options (-s NAME=VALUE)",
    "baselines": "options (-s baseline={name}:NAME=VALUE)",
    "masks": "options (-s features={name}:NAME=VALUE)",
    "metrics": "options (-M {name}:NAME=VALUE)",
    "readers": "options (--set-input NAME=VALUE)",
}


@click.command("list", short_help="List methods, formats, operators, plugins and all else that is installed.")
@click.argument("kind", required=False)
@click.argument("name", required=False)
@json_option
@message_options
@click.pass_obj
def command(messages: Messages, kind: str | None, name: str | None, as_json: bool) -> None:
    """List what is installed of a KIND, or tell all about the one called NAME.

    Kinds are methods, baselines, masks, readers, presets, formats, devices, engines, metrics, executors, operators,
    rules and plugins; without any, they are counted. An entry that two plugins bring is asked for as DISTRIBUTION:NAME.
    """
    messages.plugin_problems()
    kind = _kind(kind) if kind else None
    facts: Any
    if kind is None:
        facts = _counts()
    elif name is None:
        facts = _all(kind)
    else:
        facts = _one(kind, name)
    if as_json:
        click.echo(json.dumps(facts, ensure_ascii=False, default=str))
    elif isinstance(facts, list):
        _show_rows(kind, facts)
    else:
        _show_one(facts)


def _kind(given: str) -> str:
    known = [*kinds(), "plugins"]
    for kind in known:
        if given in {kind, kind.removesuffix("s")}:
            return kind
    raise UsageError(f"no kind {given!r}", where="list", hint=nearest(given, known))


def _counts() -> list[dict[str, Any]]:
    return [{"kind": kind, "count": len(_all(kind)), "about": ABOUT.get(kind, "")} for kind in (*kinds(), "plugins")]


def _all(kind: str) -> list[dict[str, Any]]:
    if kind == "operators":
        return _operators()
    if kind == "plugins":
        return _plugins()
    return [_row(entry, provider, kind) for entry, provider in registry().items(kind)]


def _row(entry: Entry, provider: Provider, kind: str) -> dict[str, Any]:
    clash = len(registry().entries[kind][entry.name]) > 1
    name = f"{provider.distribution}:{entry.name}" if clash else entry.name
    return {"name": name, **_fields(entry), "from": str(provider), "summary": entry.summary}


def _fields(entry: Entry) -> dict[str, Any]:
    """Return an entry's plain facts: needs, suffixes, promises, settings."""
    values = {"needs": _needs(entry)} if isinstance(entry, Method) else {}
    values |= {f.name: getattr(entry, f.name) for f in dataclasses.fields(entry) if f.name != "name"}
    return {name: _plain(value) for name, value in values.items() if not callable(value) and name != "about"}


def _needs(method: Method) -> str:
    """Return what a method asks of an engine; one that holds another asks what that one does."""
    holds = any(option.type is InnerMethod for option in method.options.values())
    return "what its method does" if holds else method.needs


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.hex(" ")
    if isinstance(value, Mapping) and any(map(callable, value.values())):
        return sorted(value)
    return [_plain(item) for item in value] if isinstance(value, (tuple, list)) else value


def _operators() -> list[dict[str, Any]]:
    """Return the operators, one row each, however many opsets they have functions for."""
    from onnxsal.catalogue import operators

    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for declared in operators():  # in order of opsets, so that the newest has the last word
        row = rows.setdefault((declared.domain, declared.name), {"since": []})
        since = [*row["since"], declared.since]
        full = f"{declared.domain}.{declared.name}" if declared.domain else declared.name
        family = declared.module.rpartition(".")[2]
        row |= {"name": full, "since": since, "family": family, "from": str(declared.provider)}
        row["summary"] = declared.summary
    return [{"name": row.pop("name"), **row} for row in rows.values()]


def _plugins() -> list[dict[str, Any]]:
    """Return what each distribution brings, and what was wrong with it."""
    brought: dict[Provider, dict[str, list[str]]] = {}
    for kind in kinds():
        for entry, provider in registry().items(kind):
            whole = Provider(provider.distribution, provider.version, "")
            brought.setdefault(whole, {}).setdefault(kind, []).append(entry.name)
    problems: dict[Provider, list[str]] = {}
    for problem in registry().problems:
        whole = Provider(problem.provider.distribution, problem.provider.version, "")
        problems.setdefault(whole, []).append(problem.reason)
    everyone = sorted({*brought, *problems}, key=lambda p: p.distribution)
    return [
        {
            "name": provider.distribution,
            "version": provider.version,
            "problems": problems.get(provider, []),
            "brings": brought.get(provider, {}),
        }
        for provider in everyone
    ]


def _one(kind: str, name: str) -> dict[str, Any]:
    if kind in {"operators", "plugins"}:
        rows = {row["name"]: row for row in _all(kind)}
        if name not in rows:
            raise UsageError(f"no {kind.removesuffix('s')} {name!r}", where=f"list {kind}", hint=nearest(name, rows))
        return rows[name] | ({"versions": _versions(name)} if kind == "operators" else {})
    entry, provider = registry().find(kind, name)
    about = {"name": entry.name, "kind": kind, "from": str(provider), **_fields(entry)}
    if kind == "devices":
        about["present"] = _present(entry)
    about["description"] = (inspect.getdoc(entry.function) or "") if entry.function else entry.summary
    return about | {"options": [_option(o) for o in entry.options.values()]}


def _versions(name: str) -> list[dict[str, Any]]:
    from onnxsal.catalogue import operators

    found = [d for d in operators() if name == (f"{d.domain}.{d.name}" if d.domain else d.name)]
    return [{"since": d.since, "summary": d.summary, "module": d.module, "from": str(d.provider)} for d in found]


def _present(device: Any) -> list[str]:
    """Return the devices there are now; asking for one kind by name is the only listing that imports torch."""
    return [device.describe(index) or device.name for index in range(device.count())]


def _option(option: Option) -> dict[str, Any]:
    default = None if option.required else option.default
    return {
        "name": option.name,
        "type": option.type_name,
        "default": default,
        "required": option.required,
        "help": option.help,
    }


def _show_rows(kind: str | None, rows: Sequence[Mapping[str, Any]]) -> None:
    if not rows:
        _tables.put(f"no {kind} are installed")
        return
    hidden = entry_type(kind).details if kind in kinds() else frozenset()
    everybody = {row.get("from") for row in rows}
    columns = [c for c in rows[0] if c not in hidden and not (c == "from" and len(everybody) == 1)]
    _tables.show(columns, [[_counted(row[c]) if c == "brings" else _text(row[c]) for c in columns] for row in rows])


def _counted(brought: Mapping[str, Sequence[str]]) -> str:
    return ", ".join(f"{len(names)} {kind}" for kind, names in brought.items()) or "-"


def _show_one(facts: dict[str, Any]) -> None:
    options, versions = facts.pop("options", []), facts.pop("versions", [])
    description = facts.pop("description", "")
    _tables.facts([(name, _text(value)) for name, value in facts.items()])
    if description:
        _tables.put(f"\n{_without_arguments(description)}")
    if options:
        _tables.heading(SET_BY.get(facts["kind"], "options").format(name=facts["name"]))
        _tables.show(["name", "type", "default", "help"], [_option_row(o) for o in options])
    if versions:
        _tables.heading("versions")
        _tables.show(["since", "module", "summary"], [(v["since"], v["module"], v["summary"]) for v in versions])


def _option_row(option: Mapping[str, Any]) -> tuple[str, str, str, str]:
    default = "required" if option["required"] else _text(option["default"])
    return option["name"], re.sub(r"\s*\|\s*", " | ", option["type"]), default, option["help"]


def _without_arguments(doc: str) -> str:
    """Return a docstring without the part that the options' table tells better."""
    lines = doc.split("\n")
    return "\n".join(lines[: lines.index("Args:")] if "Args:" in lines else lines).rstrip()


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        return "; ".join(f"{key} {_text(item)}" for key, item in value.items()) or "-"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_text, value)) or "-"
    return "none" if value is None else str(value)
