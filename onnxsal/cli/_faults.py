"""From an exception to a message and an exit code: the one place that knows."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import click

import onnxsal
from onnxsal.cli._messages import Messages, emit
from onnxsal.errors import OnnxsalError, ResourceError, UsageError

INTERRUPTED = 130
BROKEN_PIPE = 141
"""What a shell gives for a program that SIGPIPE ended: the reader of our output went away."""

REPORT = "this is a fault in onnxsal, please report it with this traceback"
ALLOCATORS = ("DefaultCPUAllocator", "not enough memory", "Failed to allocate memory", "bad_alloc")


class OutputClosed(Exception):
    """Whoever read our output has gone away."""


@dataclass(frozen=True)
class Fault:
    """A fault as it is told: where, what, what next."""

    kind: str
    where: str | None
    what: str
    hint: str | None
    exit_code: int


def exit_code(messages: Messages, work: Callable[[], Any]) -> int:
    """Run the work; tell what went wrong, if anything did, and return the exit code."""
    try:
        result = work()
        sys.stdout.flush()  # a full disk or a reader gone away shows here, not after we said 0
    except (OutputClosed, BrokenPipeError):
        _forget_stdout()
        return BROKEN_PIPE
    except (KeyboardInterrupt, click.exceptions.Abort):
        emit("interrupted")
        return INTERRUPTED
    except click.exceptions.Exit as done:
        return done.exit_code
    except Exception as error:
        return _tell(messages, error)
    return result if isinstance(result, int) else 0


def _forget_stdout() -> None:
    """Let the interpreter's own last flush go nowhere, or it would complain."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _tell(messages: Messages, error: Exception) -> int:
    fault = fault_of(error)
    details = "".join(traceback.format_exception(error))
    if messages.as_json:
        told = vars(fault) | ({"traceback": details} if fault.exit_code == 1 else {})
        emit(json.dumps({"error": told}, ensure_ascii=False))
    else:
        if fault.exit_code == 1 or messages.level > 0:
            emit(details.rstrip())
        emit(_text(fault))
    return fault.exit_code


def _text(fault: Fault) -> str:
    place = f"{fault.where}: " if fault.where else ""
    advice = "".join(f"\n  {line}" for line in (fault.hint or "").splitlines())
    return f"{click.style('error:', fg='red', bold=True)} {place}{fault.what}{click.style(advice, fg='cyan')}"


def fault_of(error: Exception) -> Fault:
    """Return how an exception is told; one that nobody foresaw is our own fault."""
    error = _resource(error) or error
    if isinstance(error, OnnxsalError):
        return Fault(type(error).__name__, error.where, error.what, error.hint, error.exit_code)
    if isinstance(error, click.ClickException):
        return _usage(error)
    hint = f"{REPORT} (onnxsal {onnxsal.__version__}, Python {sys.version.split()[0]})"
    return Fault(type(error).__name__, None, f"{type(error).__name__}: {error}", hint, 1)


def _usage(error: click.ClickException) -> Fault:
    context = getattr(error, "ctx", None)
    where = context.command_path if context else None
    hint = f"see `{where or 'onnxsal'} --help`"
    return Fault(UsageError.__name__, where, error.format_message().rstrip("."), hint, UsageError.exit_code)


def _resource(error: Exception) -> ResourceError | None:
    """Return the fault for memory or disk that ran out, in whatever way a library says so."""
    if isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return ResourceError("the disk is full", where=error.filename, hint="make room, or write elsewhere")
    torch = sys.modules.get("torch")
    if isinstance(error, MemoryError) or (torch and isinstance(error, torch.OutOfMemoryError)) or _is_allocator(error):
        return ResourceError("out of memory", hint="fewer examples, --batch-size 1, or -d cpu")
    return None


def _is_allocator(error: Exception) -> bool:
    return isinstance(error, RuntimeError) and any(word in str(error) for word in ALLOCATORS)
