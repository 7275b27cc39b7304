"""Sound."""

from __future__ import annotations

import io
import wave
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Literal

from onnxsal.entries import Reader
from onnxsal.errors import InputError, UsageError
from onnxsal.hookspecs import hookimpl
from onnxsal.readers._ports import only
from onnxsal.types import Port, Reading

if TYPE_CHECKING:
    import numpy as np


def read_wav(
    data: bytes,
    ports: Sequence[Port],
    *,
    sample_rate: int | None = None,
    start: int = 0,
    samples: int | None = None,
    channel: Literal["mean", "left", "right", "all"] = "mean",
) -> dict[str, Reading]:
    """Read a WAV recording: values from -1 to 1, or 16-bit numbers for models that take whole ones.

    Args:
        sample_rate: The rate the model was trained for; another one in the file is refused, not resampled.
        start: The first sample to take.
        samples: How many samples to take; by default as many as the model fixes, or all.
        channel: What a model with one channel hears of a stereo recording.
    """
    port = only(ports, "a recording")
    sound, rate = decode(data)
    if sample_rate is not None and rate != sample_rate:
        raise InputError(
            f"{rate} samples a second, not {sample_rate}", hint=f"ffmpeg -i IN.wav -ar {sample_rate} OUT.wav"
        )
    sound = _one_channel(sound, channel)
    count = samples or _fixed_length(port) or sound.shape[1] - start
    if not 0 <= start < start + count <= sound.shape[1]:
        raise InputError(
            f"samples {start} to {start + count} of {sound.shape[1]}", hint="set start and samples, or give more sound"
        )
    return {port.name: Reading(_arranged(_scaled(sound[:, start : start + count], port), port))}


def decode(data: bytes) -> tuple[np.ndarray, int]:
    """Return a recording as [channels, samples] from -1 to 1, and its rate.

    Raises:
        InputError: not a WAV file with whole numbers, or a truncated one.
    """
    import numpy as np

    try:
        with wave.open(io.BytesIO(data)) as recording:
            width, channels, rate = recording.getsampwidth(), recording.getnchannels(), recording.getframerate()
            count = recording.getnframes()
            raw = np.frombuffer(recording.readframes(count), np.uint8)
    except (wave.Error, EOFError) as error:
        raise InputError(
            f"not a WAV file of PCM samples: {error}", hint="ffmpeg -i IN -c:a pcm_s16le OUT.wav"
        ) from error
    if not count or len(raw) != count * channels * width:
        raise InputError(f"truncated: {len(raw)} of {count * channels * width} bytes", hint="save it again")
    return _numbers(raw, width).reshape(-1, channels).T, rate


def _numbers(raw: np.ndarray, width: int) -> np.ndarray:
    import numpy as np

    if width == 1:  # the only width that WAV keeps without a sign
        return (raw.astype(np.float64) - 128) / 128
    padded = np.zeros((len(raw) // width, 4), np.uint8)
    padded[:, 4 - width :] = raw.reshape(-1, width)
    return np.asarray(padded.view("<i4")[:, 0] / 2.0**31)


def _one_channel(sound: np.ndarray, channel: str) -> np.ndarray:
    import numpy as np

    if channel == "all" or len(sound) == 1:
        return sound
    if channel == "mean":
        return np.asarray(sound.mean(axis=0, keepdims=True))
    index = ("left", "right").index(channel)
    return sound[index : index + 1]


def _fixed_length(port: Port) -> int | None:
    dims = [dim for dim in (port.shape or ())[-1:] if isinstance(dim, int) and dim > 1]
    return dims[0] if dims else None


def _scaled(sound: np.ndarray, port: Port) -> np.ndarray:
    import ml_dtypes
    import numpy as np

    if port.is_float:
        return np.asarray(sound, getattr(ml_dtypes, port.dtype, port.dtype))
    if port.dtype not in {"int16", "int32", "int64"}:
        raise InputError(f"sound does not fit {port}", hint="prepare the input yourself and give an .npy")
    return np.round(sound * 2**15).clip(-(2**15), 2**15 - 1).astype(port.dtype)


def _arranged(sound: np.ndarray, port: Port) -> np.ndarray:
    """Return [channels, samples] with as many axes as the port has."""
    axes = 2 if port.shape is None else len(port.shape)
    if axes == 3:
        return sound[None]
    if len(sound) == 1 and axes in {1, 2}:
        return sound if axes == 2 else sound[0]
    raise UsageError(f"{len(sound)} channel(s) do not fit {port}", where="option channel", hint="take one channel")


@hookimpl
def onnxsal_readers() -> Iterable[Reader]:
    """Yield the reader of recordings."""
    yield Reader("wav", read_wav, suffixes=(".wav",), signatures=(b"RIFF????WAVE",))
