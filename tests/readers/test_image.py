"""Pictures: colours, geometry, layouts, and files that are none."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image

from onnxsal.entries import Preset
from onnxsal.errors import InputError, UsageError
from onnxsal.plugins import registry
from onnxsal.readers.image import decode, read_image
from onnxsal.types import Port, Reading

from .support import npy, port


def encoded(image: Image.Image, format: str = "PNG", **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, format, **options)
    return stream.getvalue()


def noise(height: int = 8, width: int = 8, channels: int = 3) -> np.ndarray:
    pixels = np.random.default_rng(3).integers(0, 256, (height, width, channels), np.uint8)
    return pixels[:, :, 0] if channels == 1 else pixels


def smooth(height: int, width: int) -> Image.Image:
    y, x = np.mgrid[:height, :width]
    waves = [127 + 120 * np.sin(x / 17 + y / 29 * k) for k in (1, 2, 3)]
    return Image.fromarray(np.stack(waves, -1).astype(np.uint8))


def read(data: bytes | Image.Image, to: Port | None = None, **options: Any) -> Reading:
    data = encoded(data) if isinstance(data, Image.Image) else data
    (reading,) = read_image(data, [to or port()], **options).values()
    return reading


# --- numbers and axes ---


@pytest.mark.parametrize(
    ("shape", "axes"),
    [
        (("N", 3, 8, 8), lambda p: p.transpose(2, 0, 1)[None]),
        (("N", 3, "H", "W"), lambda p: p.transpose(2, 0, 1)[None]),
        ((1, 8, 8, 3), lambda p: p[None]),
        ((None, None, None, 3), lambda p: p[None]),
        ((3, "H", "W"), lambda p: p.transpose(2, 0, 1)),
        (("H", "W", 3), lambda p: p),
    ],
)
@pytest.mark.parametrize("dtype", ["uint8", "float32", "int64"])
def test_axes(shape: Any, axes: Any, dtype: str) -> None:
    pixels = noise()
    reading = read(Image.fromarray(pixels), port(shape=shape, dtype=dtype))
    expected = (pixels / 255).astype(np.float32) if dtype == "float32" else pixels.astype(dtype)
    np.testing.assert_array_equal(reading.array, axes(expected))
    assert reading.array.dtype == dtype
    assert reading.picture is not None
    np.testing.assert_array_equal(reading.picture, pixels[None])


@pytest.mark.parametrize(
    ("shape", "result"),
    [
        (("N", 1, 8, 8), (1, 1, 8, 8)),
        (("N", 8, 8, 1), (1, 8, 8, 1)),
        (("N", 8, 8), (1, 8, 8)),
        ((8, 8), (8, 8)),
    ],
)
def test_grey(shape: Any, result: tuple[int, ...]) -> None:
    pixels = noise(channels=1)
    reading = read(Image.fromarray(pixels), port(shape=shape, dtype="uint8"))
    np.testing.assert_array_equal(reading.array, pixels.reshape(result))
    assert reading.picture is not None
    np.testing.assert_array_equal(reading.picture[0], np.stack([pixels] * 3, -1))


def test_colour_becomes_grey_and_grey_colour() -> None:
    colour, grey = Image.fromarray(noise()), Image.fromarray(noise(channels=1))
    np.testing.assert_array_equal(
        read(colour, port(shape=("N", 1, 8, 8), dtype="uint8")).array[0, 0], np.array(colour.convert("L"))
    )
    np.testing.assert_array_equal(read(grey, port(dtype="uint8")).array[0], np.stack([np.array(grey)] * 3))


def test_mean_std_scale_and_channel_order() -> None:
    pixels = noise()
    reading = read(Image.fromarray(pixels), channels="bgr", scale=1.0, mean=(10, 20, 30), std=(1, 2, 4))
    bgr = pixels[:, :, ::-1].astype(np.float64)
    np.testing.assert_allclose(reading.array[0].transpose(1, 2, 0), (bgr - [10, 20, 30]) / [1, 2, 4], rtol=1e-6)
    assert reading.picture is not None
    np.testing.assert_array_equal(reading.picture[0], pixels)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_other_floats(dtype: str) -> None:
    array = read(Image.fromarray(noise()), port(dtype=dtype)).array
    assert array.dtype.name == dtype
    np.testing.assert_allclose(array[0].astype(float).transpose(1, 2, 0), noise() / 255, rtol=1e-2)


def test_one_row_of_numbers() -> None:
    pixels = noise(channels=1)
    reading = read(Image.fromarray(pixels), port(shape=("N", 64)), flatten=True, scale=1.0)
    np.testing.assert_array_equal(reading.array, pixels.reshape(1, 64))
    assert reading.picture is not None
    assert reading.picture.shape == (1, 8, 8, 3)


def test_transparency_lies_on_the_background() -> None:
    pixels = np.zeros((8, 8, 4), np.uint8)
    pixels[:4, :, 3] = 255
    for background, value in (("white", 255), ("#000080", 0)):
        array = read(Image.fromarray(pixels), port(dtype="uint8"), background=background).array
        assert (array[0, :, :4] == 0).all()
        assert (array[0, 0, 4:] == value).all()


def test_palette_with_transparency() -> None:
    image = Image.new("P", (8, 8), 1)
    image.putpalette([0, 0, 0, 255, 0, 0])
    data = encoded(image, transparency=1)
    assert (read(data, port(dtype="uint8")).array == 255).all()
    assert read(encoded(image), port(dtype="uint8")).array[0, :, 0, 0].tolist() == [255, 0, 0]


def test_four_channels_keep_their_opacity() -> None:
    pixels = noise(channels=4)
    array = read(Image.fromarray(pixels), port(shape=("N", 4, 8, 8), dtype="uint8")).array
    np.testing.assert_array_equal(array[0].transpose(1, 2, 0), pixels)


def test_sixteen_bits_are_scaled_not_clipped() -> None:
    image = Image.fromarray(np.full((8, 8), 0x8080, np.uint16))
    assert (read(image, port(shape=("N", 1, 8, 8), dtype="uint8")).array == 0x80).all()


def test_photo_is_turned_upright() -> None:
    pixels = np.zeros((4, 8, 3), np.uint8)
    pixels[:, :4] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # turn a quarter clockwise to see it upright
    upright = decode(encoded(Image.fromarray(pixels), "PNG", exif=exif))
    assert upright.size == (4, 8)
    assert np.array(upright)[0].max() == 255
    assert np.array(upright)[-1].max() == 0


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "BMP"])
def test_kinds(format: str) -> None:
    assert read(encoded(Image.new("RGB", (8, 8), "white"), format)).array.min() > 0.98


# --- geometry ---


@pytest.mark.parametrize(("height", "width"), [(300, 451), (451, 300), (100, 90), (256, 256), (97, 1000)])
@pytest.mark.parametrize("preset", ["imagenet", "clip"])
def test_presets_are_what_torchvision_does(height: int, width: int, preset: str) -> None:
    torchvision = pytest.importorskip("torchvision.transforms.v2", exc_type=ImportError)
    entry: Preset = registry().get("presets", preset)
    image = smooth(height, width)
    how = {"bilinear": 2, "bicubic": 3}[entry.settings["resample"]]
    pipeline = torchvision.Compose(
        [
            torchvision.Resize(round(224 / entry.settings["crop_fraction"]), interpolation=how),
            torchvision.CenterCrop(224),
            torchvision.PILToTensor(),
        ]
    )
    expected = pipeline(image).numpy()
    reading = read(image, port(shape=("N", 3, "H", "W")), **entry.settings)
    assert reading.picture is not None
    np.testing.assert_array_equal(reading.picture[0].transpose(2, 0, 1), expected)
    mean, std = (np.array(entry.settings[key])[:, None, None] for key in ("mean", "std"))
    np.testing.assert_allclose(reading.array[0], (expected / 255 - mean) / std, rtol=1e-6, atol=1e-6)


def test_sizes_of_the_model_go_first() -> None:
    assert read(smooth(50, 60), port(shape=("N", 3, 12, "W")), size=(224, 16)).array.shape == (1, 3, 12, 16)
    assert read(smooth(50, 60), port(shape=("N", 3, "H", "W")), size=(7,)).array.shape == (1, 3, 7, 7)
    assert read(smooth(50, 60), port(shape=("N", 3, "H", "W"))).array.shape == (1, 3, 50, 60)


def test_crop_keeps_the_middle_and_the_proportions() -> None:
    pixels = np.zeros((10, 30, 3), np.uint8)
    pixels[:, 10:20] = 255
    assert (read(Image.fromarray(pixels), port(shape=(1, 3, 10, 10), dtype="uint8")).array == 255).all()


def test_squash_keeps_everything() -> None:
    pixels = np.zeros((10, 30, 3), np.uint8)
    pixels[:, 10:20] = 255
    array = read(Image.fromarray(pixels), port(shape=(1, 3, 10, 6), dtype="uint8"), fit="squash").array
    assert array[0, 0, 5, [0, 2, 3, 5]].tolist() == pytest.approx([0, 255, 255, 0], abs=60)


def test_letterbox_adds_a_border() -> None:
    reading = read(
        Image.new("RGB", (40, 20), "white"), port(shape=(1, 3, 8, 8), dtype="uint8"), fit="letterbox", border="#727272"
    )
    assert reading.array[0, 0, :, 0].tolist() == [114, 114, 255, 255, 255, 255, 114, 114]
    assert reading.picture is not None
    np.testing.assert_array_equal(reading.picture[0].transpose(2, 0, 1), reading.array[0])


@pytest.mark.parametrize("fit", ["crop", "squash", "letterbox"])
@pytest.mark.parametrize("size", [(1, 1), (1, 500), (500, 1), (3, 7)])
def test_extreme_proportions(fit: Any, size: tuple[int, int]) -> None:
    assert read(Image.new("RGB", size), fit=fit).array.shape == (1, 3, 8, 8)


# --- what is refused ---


def png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def huge_png(width: int, height: int) -> bytes:
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + png_chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + png_chunk(b"IEND", b"")


@pytest.mark.parametrize("size", [(100_000, 100_000), (10_000, 10_000), (2**31 - 1, 2**31 - 1)])
def test_decompression_bomb(size: tuple[int, int]) -> None:
    with pytest.raises(InputError, match="too large a picture"):
        read(huge_png(*size))


def test_every_truncation_is_noticed() -> None:
    data = encoded(Image.fromarray(noise(32, 32)))
    for length in range(0, len(data) - 13, 97):  # the last 12 bytes only say that the picture ends
        with pytest.raises(InputError, match="not a picture"):
            read(data[:length])


@pytest.mark.parametrize("format", ["JPEG", "WEBP", "BMP"])
def test_truncated(format: str) -> None:
    data = encoded(Image.fromarray(noise(32, 32)), format)
    with pytest.raises(InputError, match="not a picture"):
        read(data[: len(data) // 2])


@pytest.mark.parametrize("data", [b"", b"RIFF\0\0\0\0WAVEfmt ", b"GIF89a", npy(np.ones(3)), b"%!PS-Adobe", b"<svg/>"])
def test_other_files(data: bytes) -> None:
    with pytest.raises(InputError, match="not a picture"):
        read(data)


def test_animation() -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    with pytest.raises(InputError, match="animation of 2 frames"):
        read(encoded(frames[0], "PNG", save_all=True, append_images=frames[1:]))


@pytest.mark.parametrize(
    ("shape", "what"),
    [
        (("N", 7, 8, 8), "which axis counts the channels"),
        (("N", "C", "H", "W"), "layout=nchw"),
        (("N", 3, 8, 3), "layout=nchw"),
        ((3, 8, 3), "layout=chw"),
        (None, "layout=nchw"),
        (("N", 64), "flatten=yes"),
        (("N", 1, 3, 8, 8), "does not fit"),
        ((), "does not fit"),
    ],
)
def test_ports_that_show_no_picture(shape: Any, what: str) -> None:
    with pytest.raises(InputError) as caught:
        read(Image.new("RGB", (8, 8)), port(shape=shape))
    assert what in str(caught.value)


def test_layout_settles_what_the_shape_leaves_open() -> None:
    image = Image.fromarray(noise())
    assert read(image, port(shape=("N", "C", "H", "W")), layout="nchw").array.shape == (1, 3, 8, 8)
    assert read(image, port(shape=("N", 3, 8, 3)), layout="nhwc").array.shape == (1, 3, 8, 3)
    assert read(image, port(shape=None), layout="nhwc").array.shape == (1, 8, 8, 3)
    with pytest.raises(UsageError, match="3 axes"):
        read(image, layout="hwc")
    with pytest.raises(InputError, match="7 channels"):
        read(image, port(shape=("N", 7, 8, 8)), layout="nchw")


@pytest.mark.parametrize(
    "options",
    [
        {"mean": (1, 2)},
        {"std": (0.0,)},
        {"size": (1, 2, 3)},
        {"size": (0,)},
        {"crop_fraction": 0.0},
        {"crop_fraction": 1.5},
        {"fit": "letterbox", "border": "bluish"},
    ],
)
def test_settings_without_sense(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError) as caught:
        read(Image.new("RGB", (8, 8)), **options)
    assert caught.value.hint


def test_normalising_bytes_is_refused() -> None:
    with pytest.raises(UsageError, match="as they are"):
        read(Image.new("RGB", (8, 8)), port(dtype="uint8"), mean=(0.5,))


@pytest.mark.parametrize("dtype", ["int8", "bool", "string", "sequence(float32)"])
def test_types_that_hold_no_picture(dtype: str) -> None:
    with pytest.raises(InputError, match="do not fit"):
        read(Image.new("RGB", (8, 8)), port(dtype=dtype))


@pytest.mark.parametrize("name", registry().names("presets"))
def test_presets_fit_the_reader(name: str) -> None:
    entry: Preset = registry().get("presets", name)
    assert entry.summary
    options = registry().get("readers", "image").check_options(entry.settings)
    reading = read(smooth(30, 40), port(shape=("N", 3, 20, 20)), **options)
    assert reading.array.shape == (1, 3, 20, 20)
    assert np.isfinite(reading.array).all()
