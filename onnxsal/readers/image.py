"""Pictures."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Literal

from onnxsal.entries import Reader
from onnxsal.errors import InputError, UsageError
from onnxsal.hookspecs import hookimpl
from onnxsal.readers._layout import Layout, layout_of
from onnxsal.readers._ports import only
from onnxsal.types import Port, Reading

if TYPE_CHECKING:
    import numpy as np
    from PIL.Image import Image

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
SIGNATURES = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"RIFF????WEBP", b"BM")
DECODERS = ("PNG", "JPEG", "WEBP", "BMP")
MODES = {1: "L", 3: "RGB", 4: "RGBA"}

Fit = Literal["crop", "squash", "letterbox"]
Resample = Literal["nearest", "bilinear", "bicubic", "lanczos"]


def read_image(
    data: bytes,
    ports: Sequence[Port],
    *,
    size: tuple[int, ...] = (),
    fit: Fit = "crop",
    crop_fraction: float = 1.0,
    resample: Resample = "bilinear",
    scale: float | None = None,
    mean: tuple[float, ...] = (),
    std: tuple[float, ...] = (),
    channels: Literal["rgb", "bgr"] = "rgb",
    layout: Literal["auto", "nchw", "nhwc", "nhw", "chw", "hwc", "hw"] = "auto",
    background: str = "white",
    border: str = "black",
    flatten: bool = False,
) -> dict[str, Reading]:
    """Read a PNG, JPEG, WebP or BMP picture, resized to what the model takes.

    Args:
        size: Height and width (or one number for both) where the model leaves them free; else the picture's own.
        fit: Resize to cover and cut the middle out (crop), to fit inside with a border (letterbox), or to the exact
            size whatever the proportions (squash).
        crop_fraction: The part of the resized side that crop keeps; resize to 256 and crop to 224 is 0.875.
        resample: How pixels are interpolated.
        scale: What the bytes are multiplied by; by default 1/255 for floating-point inputs, 1 for whole numbers.
        mean: Subtracted after scaling, one number or one per channel in the model's order.
        std: Divided by after that.
        channels: The order of the colours.
        layout: The order of the axes, where the model's shape does not show it.
        background: The colour behind transparent pixels.
        border: The colour around a letterboxed picture.
        flatten: Lay the pixels out as one row, for models that take [N, height times width].
    """
    port = only(ports, "a picture")
    target = layout_of(port, layout, flatten)
    image = _resized(
        _in_mode(decode(data), target, background), _size(target, size), fit, crop_fraction, resample, border
    )
    pixels = _pixels(image)
    values = _values(pixels[:, :, ::-1] if channels == "bgr" else pixels, port, scale, mean, std)
    return {port.name: Reading(target.arrange(values), _pixels(image.convert("RGB"))[None])}


# --- decoding ---------------------------------------------------------------------------------------------------------


def decode(data: bytes) -> Image:
    """Return the picture upright, with 8 bits per channel.

    Raises:
        InputError: not a picture, damaged, animated, or too large.
    """
    from PIL import Image, ImageOps

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(data), formats=DECODERS)
            _check_frames(image)
            image.load()
            return ImageOps.exif_transpose(_eight_bits(image))
    except (InputError, MemoryError):
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise InputError(f"too large a picture: {error}", hint="make it smaller") from error
    except Exception as error:  # decoders raise anything on damaged bytes
        what = f"not a picture of a known kind ({', '.join(DECODERS)}), or a damaged one"
        raise InputError(f"{what}: {error}", hint="does a picture viewer open it?") from error


def _check_frames(image: Image) -> None:
    frames = getattr(image, "n_frames", 1)
    if frames > 1 and image.format != "MPO":  # cameras put a preview behind the picture and call it MPO
        raise InputError(f"an animation of {frames} frames", hint="save one frame as a picture")


def _eight_bits(image: Image) -> Image:
    """Pillow would clip 16-bit grey instead of scaling it."""
    import numpy as np
    from PIL import Image

    if image.mode in {"I", "F"}:
        raise InputError(f"pixels of 32 bits (mode {image.mode}) have no agreed range", hint="give an .npy")
    if not image.mode.startswith("I;16"):
        return image
    scaled = Image.fromarray((np.asarray(image).astype(np.uint32) * 255 // 65535).astype(np.uint8))
    scaled.info = dict(image.info)
    return scaled


def _in_mode(image: Image, layout: Layout, background: str) -> Image:
    if layout.channels != 4 and image.has_transparency_data:
        image = _opaque(image, background)
    return image.convert(MODES[layout.channels])


def _opaque(image: Image, background: str) -> Image:
    from PIL import Image

    colour = Image.new("RGBA", image.size, _colour(background, "background"))
    return Image.alpha_composite(colour, image.convert("RGBA")).convert("RGB")


def _colour(text: str, option: str) -> tuple[int, ...]:
    from PIL import ImageColor

    try:
        return ImageColor.getcolor(text, "RGB")  # type: ignore[return-value]
    except ValueError as error:
        raise UsageError(f"{text!r} is not a colour", where=f"option {option}", hint="say white or #ffffff") from error


# --- geometry ---------------------------------------------------------------------------------------------------------


def _size(layout: Layout, size: tuple[int, ...]) -> tuple[int | None, int | None]:
    if len(size) > 2 or any(side < 1 for side in size):
        raise UsageError(f"{size} is not a size", where="option size", hint="say 224 or 224,320 (height, width)")
    height, width = (size[0], size[-1]) if size else (None, None)
    return layout.height or height, layout.width or width


def _resized(
    image: Image, size: tuple[int | None, int | None], fit: str, crop_fraction: float, resample: str, border: str
) -> Image:
    from PIL import Image

    if not 0 < crop_fraction <= 1:
        raise UsageError(
            f"{crop_fraction} is not above 0 and at most 1", where="option crop_fraction", hint="say 0.875"
        )
    height, width = size[0] or image.height, size[1] or image.width
    how = Image.Resampling[resample.upper()]
    if fit == "squash":
        return image.resize((width, height), how)
    if fit == "letterbox":
        return _letterboxed(image, height, width, how, border)
    return _cropped(image, height, width, crop_fraction, how)


def _cropped(image: Image, height: int, width: int, fraction: float, how: int) -> Image:
    """Resize until both sides cover their part, then cut out the middle; the rounding is torchvision's."""
    tall, wide = int(height / fraction), int(width / fraction)
    if tall * image.width >= wide * image.height:
        wide = tall * image.width // image.height
    else:
        tall = wide * image.height // image.width
    resized = image.resize((wide, tall), how)
    left, top = round((wide - width) / 2), round((tall - height) / 2)
    return resized.crop((left, top, left + width, top + height))


def _letterboxed(image: Image, height: int, width: int, how: int, border: str) -> Image:
    from PIL import Image

    ratio = min(height / image.height, width / image.width)
    inner = (max(1, round(image.width * ratio)), max(1, round(image.height * ratio)))
    frame = Image.new("RGB", (width, height), _colour(border, "border")).convert(image.mode)
    frame.paste(image.resize(inner, how), ((width - inner[0]) // 2, (height - inner[1]) // 2))
    return frame


# --- numbers ----------------------------------------------------------------------------------------------------------


def _pixels(image: Image) -> np.ndarray:
    import numpy as np

    pixels = np.array(image)
    return pixels if pixels.ndim == 3 else pixels[:, :, None]


def _values(
    pixels: np.ndarray, port: Port, scale: float | None, mean: Sequence[float], std: Sequence[float]
) -> np.ndarray:
    import ml_dtypes
    import numpy as np

    if port.is_float:
        values = pixels * (1 / 255 if scale is None else scale)
        values = (values - _per_channel(mean, "mean", pixels, 0)) / _per_channel(std, "std", pixels, 1)
        return np.asarray(values, getattr(ml_dtypes, port.dtype, port.dtype))
    if port.dtype in {"int8", "bool", "string"} or "(" in port.dtype:
        raise InputError(f"a picture's bytes do not fit {port}", hint="prepare the input yourself and give an .npy")
    if scale not in {None, 1.0} or any(mean) or any(part != 1 for part in std):
        raise UsageError(f"{port} takes the picture's bytes as they are", hint="leave out preset, scale, mean and std")
    return pixels.astype(np.dtype(port.dtype))


def _per_channel(numbers: Sequence[float], option: str, pixels: np.ndarray, default: float) -> np.ndarray:
    import numpy as np

    if len(numbers) not in {0, 1, pixels.shape[2]}:
        raise UsageError(
            f"{len(numbers)} numbers for {pixels.shape[2]} channel(s)", where=f"option {option}", hint="one per channel"
        )
    if option == "std" and 0 in numbers:
        raise UsageError("0 cannot be divided by", where="option std", hint="leave std out")
    return np.array(numbers or [default], np.float64)


@hookimpl
def onnxsal_readers() -> Iterable[Reader]:
    """Yield the reader of pictures."""
    yield Reader("image", read_image, SUFFIXES, SIGNATURES)
