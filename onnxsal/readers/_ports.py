"""What several readers ask of the ports they are handed."""

from __future__ import annotations

from collections.abc import Sequence

from onnxsal.errors import InputError
from onnxsal.types import Port


def only(ports: Sequence[Port], what: str) -> Port:
    """Return the one port that a file holding a single input is for.

    Raises:
        InputError: the model still waits for several inputs, so the file could be any of them.
    """
    if len(ports) == 1:
        return ports[0]
    if not ports:
        raise InputError(f"{what} is one input too many: every input is fed already", hint="leave one out")
    names = ", ".join(port.name for port in ports)
    raise InputError(
        f"{what} holds one input, the model waits for {len(ports)}: {names}",
        hint=f"name each one: -i '{ports[0].name}=PATH'; or feed all from an .npz with these keys",
    )
