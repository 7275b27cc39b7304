"""What is said on stderr, and how loudly."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import click

WARNING = click.style("warning:", fg="yellow", bold=True)


@dataclass
class Messages:
    """Says things on stderr: ``level`` is -1 quiet, 0 normal, 1 verbose; ``as_json`` makes faults and warnings JSON."""

    as_json: bool = False
    level: int = 0
    started: float = field(default_factory=time.monotonic)

    def say(self, text: str) -> None:
        """Tell what was done; a caller that reads JSON is told there."""
        if self.level >= 0 and not self.as_json:
            emit(text)

    def detail(self, text: str) -> None:
        """Tell what only the curious want to know, with the time since the start."""
        if self.level > 0:
            emit(click.style(f"{time.monotonic() - self.started:7.2f} s  {text}", dim=True))

    def warn(self, text: str) -> None:
        """Tell that something is not as it should be, though the command goes on."""
        if self.level >= 0:
            emit(json.dumps({"warning": text}) if self.as_json else f"{WARNING} {text}")

    def plugin_problems(self) -> None:
        """Tell which plugins were skipped and why; with their tracebacks where details are wanted."""
        from onnxsal.plugins import registry

        for problem in registry().problems:
            self.warn(str(problem))
            if self.level > 0 and problem.details:
                emit(problem.details.rstrip())


def emit(text: str) -> None:
    """Write a line to stderr; click drops the colours where it is no terminal."""
    click.echo(text, err=True, color=False if os.environ.get("NO_COLOR") else None)


@contextlib.contextmanager
def hushed(args: Sequence[str]) -> Iterator[None]:
    """Keep libraries' own warnings and logs off stderr, unless details are wanted (``-v``, ``-W``)."""
    if sys.warnoptions or any(a in {"-v", "--verbose"} for a in args):
        yield
        return
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _set_level(level: int) -> Any:
    def callback(ctx: click.Context, _param: click.Parameter, value: bool) -> None:
        if value:
            ctx.find_root().obj.level = level

    return callback


def message_options(function: Any) -> Any:
    """Add ``-q`` and ``-v`` to a command."""
    for flags, level, help in (
        (("-v", "--verbose"), 1, "Tell more: progress, timings, tracebacks, libraries' warnings."),
        (("-q", "--quiet"), -1, "Tell nothing but errors."),
    ):
        function = click.option(
            *flags, is_flag=True, is_eager=True, expose_value=False, callback=_set_level(level), help=help
        )(function)
    return function
