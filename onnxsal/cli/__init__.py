"""The command line: options in, a request out, a message on failure.

One public module of this folder is one command, found by listing the folder; it defines ``command``.
"""

from __future__ import annotations

import importlib
import pkgutil
import signal
import sys
from collections.abc import Sequence
from types import FrameType
from typing import Any, NoReturn

import click

import onnxsal
from onnxsal.cli._faults import OutputClosed, exit_code
from onnxsal.cli._messages import Messages, hushed


def names() -> list[str]:
    """Return the names of all commands."""
    return sorted(info.name for info in pkgutil.iter_modules(__path__) if not info.name.startswith("_"))


class Commands(click.Group):
    """A group that imports a command when it is asked for, and turns every fault into a message and an exit code."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """Return the commands' names."""
        return names()

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import one command."""
        if cmd_name not in names():
            return None
        command: click.Command = importlib.import_module(f"onnxsal.cli.{cmd_name}").command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command, or offer the nearest."""
        from onnxsal.errors import UsageError, nearest

        if args and not args[0].startswith("-") and args[0] not in names():
            raise UsageError(f"no command {args[0]!r}", hint=f"{nearest(args[0], names())} (see `onnxsal --help`)")
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; click itself would take a reader gone away for a fault."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise OutputClosed from None

    def main(  # type: ignore[override]
        self, args: Sequence[str] | None = None, prog_name: str | None = None, **extra: Any
    ) -> NoReturn:
        """Run a command line and leave with its exit code."""
        args = sys.argv[1:] if args is None else [*args]  # here `list` may be the command
        extra = {"obj": Messages(as_json="--json" in args), **extra, "standalone_mode": False}
        with hushed(args):
            sys.exit(exit_code(extra["obj"], lambda: super(Commands, self).main(args, prog_name or "onnxsal", **extra)))


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(onnxsal.__version__, "-V", "--version", message="onnxsal %(version)s")
def group() -> None:
    """Explain exported ONNX models: why did the deployed model answer what it answered?

    \b
      onnxsal explain model.onnx picture.png --preset imagenet -o why.png
      onnxsal inspect model.onnx          what it takes and gives, and what carries a gradient
      onnxsal list methods                what is installed

    Results go to the output, messages to stderr. Exit codes: 0 done, 1 a fault of onnxsal itself, 2 usage, 3 the model
    cannot be read or imported, 4 an input cannot be read or does not fit, 5 a plugin's fault, 6 the import does not
    answer what ONNX Runtime answers, 7 out of memory or disk, 130 interrupted.
    """


def main() -> NoReturn:
    """Run the console script."""
    signal.signal(signal.SIGTERM, _terminated)
    group.main()


def _terminated(number: int, _frame: FrameType | None) -> NoReturn:
    sys.exit(128 + number)  # by the ordinary way out, so that no half-written file stays behind
