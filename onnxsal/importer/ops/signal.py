"""Fourier transforms, windows and the mel scale."""

from __future__ import annotations

import math

import numpy as np
import torch
from onnx import TensorProto
from torch import Tensor

from onnxsal.errors import ImportFault
from onnxsal.importer.dtypes import torch_dtype
from onnxsal.importer.operator import Host, op
from onnxsal.importer.values import ints


@op("DFT", since=20)
def dft(
    x: Tensor, dft_length: Host | None = None, axis: Host | None = None, *, inverse: int = 0, onesided: int = 0
) -> Tensor:
    """Take the discrete Fourier transform along an axis; the last dimension holds real and imaginary part."""
    length = None if dft_length is None else ints(dft_length)[0]
    along = -2 if axis is None else ints(axis)[0]
    return _dft(x, length, along, bool(inverse), bool(onesided))


@op("DFT", since=17)
def dft_17(x: Tensor, dft_length: Host | None = None, *, axis: int = 1, inverse: int = 0, onesided: int = 0) -> Tensor:
    """Take the discrete Fourier transform along an axis given by an attribute (opsets 17 to 19)."""
    length = None if dft_length is None else ints(dft_length)[0]
    return _dft(x, length, axis, bool(inverse), bool(onesided))


def _dft(x: Tensor, length: int | None, axis: int, inverse: bool, onesided: bool) -> Tensor:
    dim = axis % x.ndim
    if dim == x.ndim - 1:
        raise ImportFault("the last dimension holds real and imaginary part, it is no axis", hint="axes -r to -2")
    return _transform(_widened(x), length, dim, inverse, onesided).to(x.dtype)


def _widened(x: Tensor) -> Tensor:
    """Return the signal in double precision: sums over long signals nearly cancel. Apple's devices have only single."""
    return x.float() if x.device.type == "mps" else x.double()


def _transform(signal: Tensor, length: int | None, dim: int, inverse: bool, onesided: bool) -> Tensor:
    is_real = signal.shape[-1] == 1
    if onesided and inverse:
        real: Tensor = torch.fft.irfft(_as_complex(signal), length, dim)
        return real.unsqueeze(-1)
    if onesided:
        _refuse_complex(is_real)
        return torch.view_as_real(torch.fft.rfft(signal.squeeze(-1), length, dim))
    if inverse:
        return torch.view_as_real(torch.fft.ifft(_as_complex(signal), length, dim))
    return torch.view_as_real(torch.fft.fft(signal.squeeze(-1) if is_real else _as_complex(signal), length, dim))


def _as_complex(signal: Tensor) -> Tensor:
    if signal.shape[-1] == 1:
        return torch.complex(signal.squeeze(-1), torch.zeros_like(signal.squeeze(-1)))
    return torch.complex(signal[..., 0], signal[..., 1])


def _refuse_complex(is_real: bool) -> None:
    if not is_real:
        raise ImportFault("a one-sided transform of a complex signal does not exist", hint="set onesided to 0")


@op("STFT", since=17)
def stft(
    signal: Tensor,
    frame_step: Host,
    window: Tensor | None = None,
    frame_length: Host | None = None,
    *,
    onesided: int = 1,
) -> Tensor:
    """Take the Fourier transform of frames that slide over a signal."""
    if signal.ndim == 2:  # exporters leave the last axis of a real signal out, and ONNX Runtime takes that
        signal = signal.unsqueeze(-1)
    length = _frame_length(signal, window, frame_length)
    frames = signal.unfold(1, length, ints(frame_step)[0]).movedim(-1, 2)  # batch, frame, sample, part
    if window is not None:
        frames = frames * window.to(signal.dtype)[:, None]
    return _dft(frames, None, 2, inverse=False, onesided=bool(onesided))


def _frame_length(signal: Tensor, window: Tensor | None, frame_length: np.ndarray | None) -> int:
    if frame_length is not None:
        return ints(frame_length)[0]
    return signal.shape[1] if window is None else window.shape[0]


@op("HannWindow", since=17, gradient=False)
def hann_window(size: Host, *, output_datatype: int = TensorProto.FLOAT, periodic: int = 1) -> Tensor:
    """Make a Hann window: one raised cosine."""
    return _cosines(size, (0.5, -0.5), output_datatype, bool(periodic))


@op("HammingWindow", since=17, gradient=False)
def hamming_window(size: Host, *, output_datatype: int = TensorProto.FLOAT, periodic: int = 1) -> Tensor:
    """Make a Hamming window: a raised cosine that does not quite reach zero."""
    return _cosines(size, (25 / 46, -21 / 46), output_datatype, bool(periodic))


@op("BlackmanWindow", since=17, gradient=False)
def blackman_window(size: Host, *, output_datatype: int = TensorProto.FLOAT, periodic: int = 1) -> Tensor:
    """Make a Blackman window: two raised cosines."""
    return _cosines(size, (0.42, -0.5, 0.08), output_datatype, bool(periodic))


def _cosines(size: np.ndarray, weights: tuple[float, ...], dtype: int, periodic: bool) -> Tensor:
    count = ints(size)[0]
    angles = torch.arange(count, dtype=torch.float64) * (2 * math.pi / (count if periodic else count - 1))
    terms = [weight * torch.cos(order * angles) for order, weight in enumerate(weights)]
    return torch.stack(terms).sum(0).to(torch_dtype(dtype))


@op("MelWeightMatrix", since=17, gradient=False)
def mel_weight_matrix(
    num_mel_bins: Host,
    dft_length: Host,
    sample_rate: Host,
    lower_edge_hertz: Host,
    upper_edge_hertz: Host,
    *,
    output_datatype: int = TensorProto.FLOAT,
) -> Tensor:
    """Make the matrix of triangles that sums spectral lines into bands of the mel scale."""
    bands, length, rate = (ints(v)[0] for v in (num_mel_bins, dft_length, sample_rate))
    low, high = (_mel(float(v)) for v in (lower_edge_hertz, upper_edge_hertz))
    # the step divides by the number of corners, not of gaps: so the definition has it
    corners = low + np.arange(bands + 2) * (high - low) / (bands + 2)
    lines = ((length + 1) * _hertz(corners) // rate).astype(np.int64)
    triangles = [_triangle(lines[i], lines[i + 1], lines[i + 2], length // 2 + 1) for i in range(bands)]
    return torch.from_numpy(np.stack(triangles, 1)).to(torch_dtype(output_datatype))


def _mel(hertz: float) -> float:
    return 2595 * math.log10(1 + hertz / 700)


def _hertz(mel: np.ndarray) -> np.ndarray:
    return 700 * (10 ** (mel / 2595) - 1)


def _triangle(low: int, peak: int, high: int, size: int) -> np.ndarray:
    """Rise from 0 at one line to 1 at the peak, and fall to 0 at another line."""
    lines = np.arange(size)
    rise = (lines - low) / (peak - low) if peak > low else (lines == peak).astype(float)
    fall = (high - lines) / (high - peak) if high > peak else np.zeros(size)
    return np.where((lines >= low) & (lines <= peak), rise, np.where((lines > peak) & (lines < high), fall, 0))
