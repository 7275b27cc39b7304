"""Which operators are declared, read from the source: importing an operator's module would import torch."""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onnxsal.plugins import Provider, registry


@dataclass(frozen=True)
class Declared:
    """One function declared with ``op``: the operator it serves, from which opset on, and what it says it does."""

    name: str
    domain: str
    since: int
    summary: str
    module: str
    provider: Provider


def operators() -> list[Declared]:
    """Return all operators of all plugins, in order of domain, name and opset."""
    found = [
        Declared(name, domain, since, summary, entry.module, provider)
        for entry, provider in registry().items("operators")
        for name, domain, since, summary in _Module(entry.module).declarations()
    ]
    return sorted(found, key=lambda d: (d.domain, d.name, d.since))


class _Module:
    """A module's source: functions under ``@op(…)``, and calls of functions that declare what they make."""

    def __init__(self, name: str) -> None:
        spec = importlib.util.find_spec(name)
        source = Path(spec.origin).read_text(encoding="utf-8") if spec and spec.origin else ""
        self.tree = ast.parse(source)
        self.functions = {f.name: f for f in self.tree.body if isinstance(f, ast.FunctionDef)}
        self.constants = {
            target.id: statement.value.value
            for statement in self.tree.body
            if isinstance(statement, ast.Assign) and isinstance(statement.value, ast.Constant)
            for target in statement.targets
            if isinstance(target, ast.Name)
        }

    def declarations(self) -> Iterator[tuple[str, str, int, str]]:
        """Yield name, domain, first opset and summary."""
        for function in self.functions.values():
            summary = (ast.get_docstring(function) or "").split("\n")[0]
            for decorator in function.decorator_list:
                if _is_op(decorator):
                    yield from _declaration(decorator, self.constants, summary)
        for statement in self.tree.body:
            if not isinstance(statement, (ast.FunctionDef, ast.ClassDef)):
                yield from self._made_by(statement, self.constants, "", ())

    def _made_by(
        self, code: ast.AST, known: Mapping[str, Any], summary: str, within: tuple[str, ...]
    ) -> Iterator[tuple[str, str, int, str]]:
        """Follow the calls in a piece of code, with what is known of its names, to where they declare operators."""
        for call in ast.walk(code):
            if _is_op(call):
                yield from _declaration(call, known, summary)
            elif isinstance(call, ast.Call) and (function := self._called(call)) and function.name not in within:
                inner = self.constants | _bound(function, call, known)
                for statement in function.body:
                    yield from self._made_by(
                        statement, inner, inner.get("summary") or summary, (*within, function.name)
                    )

    def _called(self, call: ast.Call) -> ast.FunctionDef | None:
        return self.functions.get(call.func.id) if isinstance(call.func, ast.Name) else None


def _is_op(node: ast.AST) -> bool:
    function = node.func if isinstance(node, ast.Call) else None
    return (isinstance(function, ast.Name) and function.id == "op") or (
        isinstance(function, ast.Attribute) and function.attr == "op"
    )


def _declaration(call: Any, known: Mapping[str, Any], summary: str) -> Iterator[tuple[str, str, int, str]]:
    given = {k.arg: _value(k.value, known) for k in call.keywords}
    name = _value(call.args[0], known) if call.args else given.get("name")
    if isinstance(name, str):
        yield name, given.get("domain") or "", given.get("since") or 1, summary


def _bound(function: ast.FunctionDef, call: ast.Call, known: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is known of a function's parameters within one call of it."""
    arguments = function.args
    names = [a.arg for a in arguments.args]
    defaults = dict(zip(reversed(names), reversed(arguments.defaults), strict=False))
    defaults |= {a.arg: d for a, d in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True) if d is not None}
    bound = {name: _value(default, {}) for name, default in defaults.items()}
    bound |= {name: _value(value, known) for name, value in zip(names, call.args, strict=False)}
    return bound | {k.arg: _value(k.value, known) for k in call.keywords if k.arg}


def _value(node: ast.AST, known: Mapping[str, Any]) -> Any:
    """Return a constant, or what is known of a name; None otherwise."""
    if isinstance(node, ast.Constant):
        return node.value
    return known.get(node.id) if isinstance(node, ast.Name) else None
