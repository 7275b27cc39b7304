"""Times in turn, and on which machine."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

Run = Callable[[], Any]

PAUSE = 0.2
"""Seconds between libraries: the threads of the one that ran before still wait actively for more work."""


def interleaved(runs: dict[str, Run], repeats: int, calls: int = 1) -> dict[str, float]:
    """Return the median seconds of every run; each repeat runs all of them, so that a busy machine slows all alike.

    Each time, ``calls`` calls are timed, after one that wakes the threads.
    """
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(repeats):
        for name, run in runs.items():
            time.sleep(PAUSE)
            run()
            for _ in range(calls):
                started = time.perf_counter()
                run()
                seconds[name].append(time.perf_counter() - started)
    return {name: statistics.median(found) for name, found in seconds.items()}


def machine() -> str:
    """Return the processor, torch's threads, and the versions of what computes."""
    import onnxruntime
    import torch

    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    named = [line.partition(": ")[2] for line in lines if line.startswith("model name")]
    processor = named[0] if named else "unknown processor"
    threads = torch.get_num_threads()
    return f"{processor}, {threads} threads, onnxruntime {onnxruntime.__version__}, torch {torch.__version__}"
