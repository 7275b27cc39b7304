"""How pictures were prepared for well-known families of image models."""

from __future__ import annotations

from collections.abc import Iterable

from onnxsal.entries import Preset
from onnxsal.hookspecs import hookimpl

RESIZE_256_CROP_224 = {"size": (224, 224), "fit": "crop", "crop_fraction": 224 / 256, "resample": "bilinear"}
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
MINUS_ONE_TO_ONE = {"scale": 1 / 127.5, "mean": (1.0,), "std": (1.0,)}


@hookimpl
def onnxsal_presets() -> Iterable[Preset]:
    """Yield the presets."""
    yield Preset(
        "imagenet",
        {**RESIZE_256_CROP_224, "scale": 1 / 255, "mean": MEAN, "std": STD},
        "torchvision and most PyTorch classifiers: resize to 256, crop 224, ImageNet mean and deviation",
    )
    yield Preset(
        "imagenet-tf",
        {**RESIZE_256_CROP_224, **MINUS_ONE_TO_ONE},
        "TensorFlow and Keras classifiers (MobileNet, ResNetV2): 224 pixels, values from -1 to 1",
    )
    yield Preset(
        "inception",
        {**RESIZE_256_CROP_224, "size": (299, 299), "crop_fraction": 0.875, **MINUS_ONE_TO_ONE},
        "Inception and Xception: 299 pixels, values from -1 to 1",
    )
    yield Preset(
        "caffe",
        {**RESIZE_256_CROP_224, "scale": 1.0, "mean": (103.939, 116.779, 123.68), "channels": "bgr"},
        "Caffe models and Keras's VGG and ResNet: blue first, bytes less the mean colour",
    )
    yield Preset(
        "clip",
        {
            **RESIZE_256_CROP_224,
            "crop_fraction": 1.0,
            "resample": "bicubic",
            "scale": 1 / 255,
            "mean": (0.48145466, 0.4578275, 0.40821073),
            "std": (0.26862954, 0.26130258, 0.27577711),
        },
        "CLIP's image tower: bicubic, crop 224, CLIP's own mean and deviation",
    )
    yield Preset(
        "yolo",
        {"size": (640, 640), "fit": "letterbox", "border": "#727272", "resample": "bilinear", "scale": 1 / 255},
        "YOLO detectors: letterboxed to 640 on grey, values from 0 to 1",
    )
