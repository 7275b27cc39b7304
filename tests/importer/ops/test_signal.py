from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import TensorProto

from onnxsal.errors import ImportFault
from tests.importer.ops.support import check

RANDOM = np.random.default_rng(0)
REAL = RANDOM.normal(size=(2, 10, 3, 1)).astype(np.float32)
COMPLEX = RANDOM.normal(size=(2, 10, 3, 2)).astype(np.float32)


def _parts(x: np.ndarray) -> np.ndarray:
    return np.stack([x.real, x.imag], -1).astype(np.float32)


def _joined(x: np.ndarray) -> np.ndarray:
    return x[..., 0] + 1j * x[..., 1] if x.shape[-1] == 2 else x[..., 0]


@pytest.mark.parametrize("x", [REAL, COMPLEX], ids=["real", "complex"])
@pytest.mark.parametrize("inverse", [0, 1])
@pytest.mark.parametrize("length", [None, 10, 7, 16])
@pytest.mark.parametrize("axis", [1, -2])
def test_dft(x: np.ndarray, inverse: int, length: int | None, axis: int) -> None:
    transform = np.fft.ifft if inverse else np.fft.fft
    along = 1 if axis == 1 else 2
    expected = [_parts(transform(_joined(x).astype(np.complex128), length, along))]
    size = None if length is None else np.array(length)
    constants = (1, 2) if length else (2,)
    options: dict[str, Any] = {"inverse": inverse, "expected": expected, "trace": True}
    check("DFT", [x, size, np.array(axis)], opset=20, constants=constants, gradient=axis == 1, **options)
    inputs = [x] if size is None else [x, size]
    check("DFT", inputs, opset=17, axis=axis, constants=(1,)[: len(inputs) - 1], **options)


def test_dft_agrees_with_onnxruntime() -> None:
    check("DFT", [REAL, None, np.array(1)], opset=20, atol=1e-5)
    check("DFT", [COMPLEX, None, np.array(1)], opset=20, atol=1e-5, inverse=1)
    check("DFT", [REAL, np.array(8)], opset=17, atol=1e-5, onesided=1)


def test_default_axes() -> None:
    check("DFT", [REAL], opset=20, expected=[_parts(np.fft.fft(REAL[..., 0].astype(np.float64), axis=2))])
    check("DFT", [REAL], opset=17, expected=[_parts(np.fft.fft(REAL[..., 0].astype(np.float64), axis=1))])


@pytest.mark.parametrize("length", [None, 10, 7])
def test_one_sided(length: int | None) -> None:
    size = None if length is None else np.array(length)
    wide = REAL[..., 0].astype(np.float64)
    expected = _parts(np.fft.rfft(wide, length, 1))
    inputs = [REAL, size, np.array(1)]
    constants = (1, 2) if length else (2,)
    check("DFT", inputs, opset=20, constants=constants, onesided=1, expected=[expected], gradient=True)


@pytest.mark.parametrize("length", [None, 17, 18])
def test_one_sided_inverse(length: int | None) -> None:
    size = None if length is None else np.array(length)
    expected = np.fft.irfft(_joined(COMPLEX).astype(np.complex128), length, 1)[..., None].astype(np.float32)
    inputs = [COMPLEX, size, np.array(1)]
    constants = (1, 2) if length else (2,)
    options: dict[str, Any] = {"onesided": 1, "inverse": 1, "constants": constants}
    check("DFT", inputs, opset=20, expected=[expected], gradient=True, **options)


def test_what_has_no_transform_is_refused() -> None:
    with pytest.raises(ImportFault, match="one-sided"):
        check("DFT", [COMPLEX, None, np.array(1)], opset=20, onesided=1, expected=[])
    with pytest.raises(ImportFault, match="last dimension"):
        check("DFT", [COMPLEX, None, np.array(-1)], opset=20, expected=[])


SIGNAL = RANDOM.normal(size=(2, 50, 1)).astype(np.float32)
WINDOW = RANDOM.uniform(size=16).astype(np.float32)


@pytest.mark.parametrize("onesided", [0, 1])
@pytest.mark.parametrize(("window", "length"), [(WINDOW, None), (None, 16), (WINDOW, 16)])
def test_stft(onesided: int, window: np.ndarray | None, length: int | None) -> None:
    inputs = [SIGNAL, np.array(6), window, None if length is None else np.array(length)]
    constants = [i for i in (1, 3) if inputs[i] is not None]
    check("STFT", inputs, opset=17, onesided=onesided, constants=constants, gradient=True, trace=True, atol=1e-5)


def test_stft_of_a_complex_signal() -> None:
    x = RANDOM.normal(size=(2, 50, 2)).astype(np.float32)
    check("STFT", [x, np.array(6), WINDOW], opset=17, onesided=0, atol=1e-5)
    with pytest.raises(ImportFault, match="one-sided"):
        check("STFT", [x, np.array(6), WINDOW], opset=17, expected=[])


@pytest.mark.parametrize("name", ["HannWindow", "HammingWindow", "BlackmanWindow"])
@pytest.mark.parametrize("periodic", [0, 1])
@pytest.mark.parametrize("constants", [(), (0,)])
@pytest.mark.parametrize("dtype", [TensorProto.FLOAT, TensorProto.DOUBLE])
def test_windows(name: str, periodic: int, constants: tuple[int, ...], dtype: int) -> None:
    options: dict[str, Any] = {"periodic": periodic, "output_datatype": dtype}
    check(name, [np.array(10)], opset=17, constants=constants, **options)


@pytest.mark.parametrize(
    ("bands", "length", "rate", "low", "high"), [(8, 64, 8000, 20.0, 4000.0), (20, 32, 16000, 0.0, 8000.0)]
)
def test_mel_weights(bands: int, length: int, rate: int, low: float, high: float) -> None:
    edges = [np.array(low, np.float32), np.array(high, np.float32)]
    sizes = [np.array(v) for v in (bands, length, rate)]
    check("MelWeightMatrix", [*sizes, *edges], opset=17)
    check("MelWeightMatrix", [*sizes, *edges], opset=17, constants=range(5), output_datatype=TensorProto.DOUBLE)
