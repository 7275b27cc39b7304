"""Recordings as inputs."""

from __future__ import annotations

import io
import wave
from typing import Any

import numpy as np
import pytest

from onnxsal.errors import InputError, UsageError
from onnxsal.readers.wav import decode, read_wav

from .support import port


def recording(samples: np.ndarray, width: int = 2, rate: int = 16000) -> bytes:
    """Return a WAV file of whole numbers [samples, channels]."""
    stream = io.BytesIO()
    with wave.open(stream, "wb") as file:
        file.setnchannels(samples.shape[1])
        file.setsampwidth(width)
        file.setframerate(rate)
        file.writeframes(b"".join(int(v).to_bytes(width, "little", signed=width > 1) for v in samples.ravel()))
    return stream.getvalue()


STEREO = recording(np.array([[0, 16384], [-32768, 0], [32767, 32767]]))
MONO = recording(np.array([[0], [-32768], [16384]]))


def read(data: bytes, shape: Any = ("N", "T"), dtype: str = "float32", **options: Any) -> np.ndarray:
    return read_wav(data, [port("audio", dtype, shape)], **options)["audio"].array


@pytest.mark.parametrize(
    ("width", "values", "expected"),
    [
        (1, [0, 128, 255], [-1, 0, 127 / 128]),
        (2, [-(2**15), 0, 2**15 - 1], [-1, 0, 1 - 2**-15]),
        (3, [-(2**23), 0, 2**23 - 1], [-1, 0, 1 - 2**-23]),
        (4, [-(2**31), 0, 2**31 - 1], [-1, 0, 1 - 2**-31]),
    ],
)
def test_widths(width: int, values: list[int], expected: list[float]) -> None:
    sound, rate = decode(recording(np.array(values)[:, None], width, 8000))
    assert sound.tolist() == [expected]
    assert rate == 8000


@pytest.mark.parametrize(
    ("shape", "result"), [(("N", "T"), (1, 3)), (("T",), (3,)), (("N", 1, "T"), (1, 1, 3)), (None, (1, 3))]
)
def test_axes(shape: Any, result: tuple[int, ...]) -> None:
    array = read(MONO, shape)
    assert array.shape == result
    assert array.dtype == np.float32
    assert array.ravel().tolist() == [0, -1, 0.5]


def test_channels() -> None:
    assert read(STEREO).tolist() == [[0.25, -0.5, 32767 / 32768]]
    assert read(STEREO, channel="left")[0, 1] == -1
    assert read(STEREO, channel="right")[0, 0] == 0.5
    assert read(STEREO, ("N", 2, "T"), channel="all").shape == (1, 2, 3)
    with pytest.raises(UsageError, match="2 channel"):
        read(STEREO, channel="all")


def test_whole_numbers() -> None:
    assert read(MONO, dtype="int16").tolist() == [[0, -32768, 16384]]
    with pytest.raises(InputError, match="does not fit"):
        read(MONO, dtype="uint8")


def test_cut() -> None:
    assert read(MONO, start=1).shape == (1, 2)
    assert read(MONO, start=1, samples=1).tolist() == [[-1]]
    assert read(MONO, ("N", 2)).tolist() == [[0, -1]]


@pytest.mark.parametrize("options", [{"start": 3}, {"start": -1}, {"samples": 4}, {"start": 2, "samples": 2}])
def test_cut_outside(options: dict[str, int]) -> None:
    with pytest.raises(InputError, match="of 3"):
        read(MONO, **options)


def test_rate_is_proved_not_changed() -> None:
    assert read(MONO, sample_rate=16000).shape == (1, 3)
    with pytest.raises(InputError, match="16000 samples a second, not 8000"):
        read(MONO, sample_rate=8000)


@pytest.mark.parametrize("data", [b"", b"RIFF", b"RIFF\0\0\0\0WAVE", MONO[:30], MONO[:-3]])
def test_damaged(data: bytes) -> None:
    with pytest.raises(InputError, match=r"not a WAV|truncated"):
        read(data)
