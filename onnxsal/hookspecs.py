"""The plugin contract, on one page.

A plugin is a module whose functions are marked with ``@onnxsal.hookimpl``. Each hook takes nothing and yields frozen
descriptors from `onnxsal.entries`. A package announces its module under the entry point group ``onnxsal``:

    [project.entry-points.onnxsal]
    smoothtaylor = "onnxsal_smoothtaylor"

The built-in methods, formats, readers, devices and so on come in by these same hooks.
"""

from __future__ import annotations

from collections.abc import Iterable

import pluggy

from onnxsal import entries

hookspec = pluggy.HookspecMarker("onnxsal")
hookimpl = pluggy.HookimplMarker("onnxsal")


@hookspec
def onnxsal_methods() -> Iterable[entries.Method]:
    """Yield attribution methods."""
    return ()


@hookspec
def onnxsal_baselines() -> Iterable[entries.BaselineMaker]:
    """Yield ways to make a baseline."""
    return ()


@hookspec
def onnxsal_masks() -> Iterable[entries.MaskMaker]:
    """Yield ways to cut inputs into features."""
    return ()


@hookspec
def onnxsal_readers() -> Iterable[entries.Reader]:
    """Yield readers of input files."""
    return ()


@hookspec
def onnxsal_presets() -> Iterable[entries.Preset]:
    """Yield named settings for readers."""
    return ()


@hookspec
def onnxsal_formats() -> Iterable[entries.Format]:
    """Yield formats of results."""
    return ()


@hookspec
def onnxsal_devices() -> Iterable[entries.Device]:
    """Yield kinds of device."""
    return ()


@hookspec
def onnxsal_engines() -> Iterable[entries.Engine]:
    """Yield engines."""
    return ()


@hookspec
def onnxsal_metrics() -> Iterable[entries.Metric]:
    """Yield measures of explanations."""
    return ()


@hookspec
def onnxsal_executors() -> Iterable[entries.Executor]:
    """Yield ways to run many requests."""
    return ()


@hookspec
def onnxsal_operators() -> Iterable[entries.Operators]:
    """Yield modules of ONNX operators."""
    return ()


@hookspec
def onnxsal_rules() -> Iterable[entries.Rules]:
    """Yield ways back through operators, for DeepLIFT, LRP and other families of methods."""
    return ()
