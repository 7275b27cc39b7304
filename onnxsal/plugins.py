"""Discovery of plugins: built-ins by folder listing, third parties by entry point; faults contained, clashes named.

``ONNXSAL_PLUGINS=none`` loads no third-party plugin, ``ONNXSAL_PLUGINS=a,b`` only those entry points or distributions.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import os
import pkgutil
import traceback
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import Any, get_args, get_type_hints

import pluggy

import onnxsal
from onnxsal import hookspecs
from onnxsal.entries import Entry
from onnxsal.errors import OnnxsalError, PluginError, UsageError, nearest

OURS = "onnxsal"
PREFIX = "onnxsal_"


@dataclass(frozen=True)
class Provider:
    """Who brings an entry: distribution, version and plugin module."""

    distribution: str
    version: str
    plugin: str

    def __str__(self) -> str:
        return f"{self.distribution} {self.version}"


@dataclass(frozen=True)
class Problem:
    """A plugin that was skipped, and why; ``details`` is the traceback."""

    provider: Provider
    reason: str
    details: str = ""

    def __str__(self) -> str:
        return f"plugin {self.provider.plugin} ({self.provider}) skipped: {self.reason}"


def kinds() -> tuple[str, ...]:
    """Return the kinds of entry, as the hook specifications name them."""
    return tuple(name.removeprefix(PREFIX) for name in vars(hookspecs) if name.startswith(PREFIX))


def entry_type(kind: str) -> type[Entry]:
    """Return the descriptor class that the hook of a kind yields."""
    returned = get_type_hints(getattr(hookspecs, PREFIX + kind))["return"]
    return get_args(returned)[0]  # type: ignore[no-any-return]


@dataclass
class Registry:
    """All entries by kind and name, with their providers, and the problems met on the way."""

    entries: dict[str, dict[str, list[tuple[Entry, Provider]]]] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def items(self, kind: str) -> Iterator[tuple[Any, Provider]]:
        """Yield the entries of a kind with their providers, in order of name; a clash yields each claimant."""
        for _, claims in sorted(self.entries.get(kind, {}).items()):
            yield from claims

    def names(self, kind: str) -> list[str]:
        """Return the names of a kind."""
        return sorted(self.entries.get(kind, {}))

    def get(self, kind: str, name: str) -> Any:
        """Return one entry by its name, or by ``distribution:name``.

        Raises:
            UsageError: there is none of that name.
            PluginError: two distributions claim the name.
        """
        return self.find(kind, name)[0]

    def provider(self, kind: str, name: str) -> Provider:
        """Return who brings an entry; errors as for `get`."""
        return self.find(kind, name)[1]

    def find(self, kind: str, name: str) -> tuple[Any, Provider]:
        """Return one entry with its provider; errors as for `get`."""
        distribution, _, short = name.rpartition(":")
        known = self.entries.get(kind, {})
        claims = known.get(short, [])
        if distribution:
            claims = [claim for claim in claims if claim[1].distribution == distribution]
        if not claims:
            lost = f"; {self.problems[0]}" if self.problems else ""
            hint = f"{nearest(short, known)} (see `onnxsal list {kind}`){lost}"
            raise UsageError(f"no {kind.removesuffix('s')} {name!r}", hint=hint)
        if len(claims) > 1:
            providers = [provider for _, provider in claims]
            choices = " or ".join(f"{p.distribution}:{short}" for p in providers)
            raise PluginError(
                f"{' and '.join(map(str, providers))} both bring {kind.removesuffix('s')} {short!r}",
                hint=f"say {choices}; or limit the plugins with ONNXSAL_PLUGINS=name,…",
            )
        return claims[0]

    def parsed(self, kind: str, said: str) -> tuple[str, dict[str, str]]:
        """Return the name and the options in ``name``, ``name:value`` or ``name:key=value,key=value``.

        Raises:
            UsageError: there is none of that name, or it takes no options.
            PluginError: two distributions claim the name.
        """
        name, _, rest = said.partition(":")
        short, _, after = rest.partition(":")
        if name not in self.entries.get(kind, {}) and short in self.entries.get(kind, {}):
            name, rest = f"{name}:{short}", after  # the distribution stands before
        return name, self.get(kind, name).options_in(rest)

    def configured(self, kind: str, said: str) -> tuple[Any, dict[str, Any]]:
        """Return the entry and all its options, as `parsed` reads them; errors too, and for an unknown option."""
        name, options = self.parsed(kind, said)
        entry = self.get(kind, name)
        return entry, entry.check_options(options)

    def add(self, kind: str, entry: Entry, provider: Provider) -> None:
        """Add an entry; a second one of the same name is a clash, reported when somebody asks for the name."""
        self.entries.setdefault(kind, {}).setdefault(entry.name, []).append((entry, provider))

    def skip(self, provider: Provider, reason: str, error: BaseException | None = None) -> None:
        """Note a plugin that is left out."""
        details = "".join(traceback.format_exception(error)) if error else ""
        self.problems.append(Problem(provider, reason, details))


@contextlib.contextmanager
def blamed(provider: Provider, what: str) -> Iterator[None]:
    """Tell what an entry of a plugin raises as the plugin's fault; a user's mistake and full memory stay what they are.

    Raises:
        PluginError: the entry failed, and is none of ours.
    """
    try:
        yield
    except (OnnxsalError, MemoryError):
        raise
    except Exception as error:
        if provider.distribution == OURS or type(error).__name__ == "OutOfMemoryError":
            raise
        raise PluginError(f"{what} of {provider} raised {type(error).__name__}: {error}") from error


@cache
def registry() -> Registry:
    """Return all entries that are installed and not switched off; discovered once per process."""
    found = Registry()
    for plugin, provider in _plugins(found):
        _collect(plugin, provider, found)
    return found


def rules_of(family: str) -> dict[str, Any]:
    """Return the rules for a family of methods, by operator; a plugin's go before ours.

    Raises:
        PluginError: two plugins bring a rule for one operator.
    """
    rules: dict[str, Any] = {}
    holders: dict[str, Provider] = {}
    entries = [(e, p) for e, p in registry().items("rules") if e.family == family]
    for entry, provider in sorted(entries, key=lambda item: item[1].distribution != OURS):
        for operator, rule in entry.rules.items():
            holder = holders.get(operator, provider)
            if holder != provider and holder.distribution != OURS:
                raise PluginError(
                    f"{holder} and {provider} both bring a {family} rule for {operator}",
                    hint="choose one: ONNXSAL_PLUGINS=name,… names the plugins to load",
                )
            rules[operator], holders[operator] = rule, provider
    return rules


def _plugins(found: Registry) -> Iterator[tuple[Any, Provider]]:
    for name in _builtin_modules():
        yield importlib.import_module(name), Provider(OURS, onnxsal.__version__, name)
    for point in sorted(_entry_points(), key=lambda p: p.name):
        distribution = point.dist.name if point.dist else "unknown"
        version = point.dist.version if point.dist else "0"
        provider = Provider(distribution, version, point.name)
        try:
            plugin = point.load()
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # a stranger's module may raise anything, even SystemExit
            found.skip(provider, f"cannot be imported: {_one_line(error)}", error)
        else:
            yield plugin, provider


def _builtin_modules() -> Iterator[str]:
    """Yield every module below the folders named after a kind of entry; `_helper` modules are no plugins."""
    for kind in kinds():
        folder = "importer.ops" if kind == "operators" else kind
        try:
            package = importlib.import_module(f"onnxsal.{folder}")
        except ModuleNotFoundError:
            continue
        yield package.__name__
        if kind != "operators":  # the package itself announces the families, which need torch to import
            names = [info.name for info in pkgutil.iter_modules(package.__path__)]
            yield from (f"{package.__name__}.{name}" for name in names if not name.startswith("_"))


def _entry_points() -> Iterable[importlib.metadata.EntryPoint]:
    wanted = os.environ.get("ONNXSAL_PLUGINS")
    points = importlib.metadata.entry_points(group="onnxsal")
    if wanted is None:
        return points
    names = {name.strip() for name in wanted.split(",")} - {"", "none"}
    return [p for p in points if p.name in names or (p.dist and p.dist.name in names)]


def _collect(plugin: Any, provider: Provider, found: Registry) -> None:
    """Ask one plugin for all its entries; what it cannot give is noted, what it can is kept."""
    manager = pluggy.PluginManager("onnxsal")
    manager.add_hookspecs(hookspecs)
    try:
        manager.register(plugin)
        manager.check_pending()
    except Exception as error:  # pluggy raises several kinds for a hook that does not fit
        found.skip(provider, f"its hooks do not fit: {_one_line(error)}", error)
        return
    for kind in kinds():
        for implementation in getattr(manager.hook, PREFIX + kind).get_hookimpls():
            try:
                yielded = list(implementation.function())
            except Exception as error:  # contained: the other plugins go on
                found.skip(provider, f"{PREFIX}{kind} raised {_one_line(error)}", error)
                continue
            for entry in yielded:
                if isinstance(entry, entry_type(kind)) and isinstance(entry.name, str) and entry.name:
                    found.add(kind, entry, provider)
                else:
                    found.skip(provider, f"{PREFIX}{kind} yielded {entry!r}, not a {entry_type(kind).__name__}")


def _one_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
