"""Arrays by name in safetensors, which hold no code and can be mapped into memory."""

from __future__ import annotations

import json
from collections.abc import Iterable

from onnxsal.entries import Format
from onnxsal.errors import OutputError
from onnxsal.formats.npz import META, storable
from onnxsal.hookspecs import hookimpl
from onnxsal.types import Attribution

RESERVED = "__metadata__"


def render_safetensors(attribution: Attribution) -> bytes:
    """Write one tensor per explained input under its ONNX name, and the facts as JSON text in the metadata."""
    from safetensors.numpy import save

    if RESERVED in attribution.values:
        raise OutputError(
            "safetensors cannot hold an input of this name", where=f"input {RESERVED!r}", hint="use npz or json"
        )
    arrays = {name: storable(value) for name, value in attribution.values.items()}
    return save(arrays, {META: json.dumps(attribution.meta, ensure_ascii=False)})


@hookimpl
def onnxsal_formats() -> Iterable[Format]:
    """Yield the safetensors format."""
    yield Format("safetensors", render_safetensors, ".safetensors")
