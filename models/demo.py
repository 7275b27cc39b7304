"""Why does a deployed model see a cat? Export one, ask, and leave a picture.

    python -m models.demo [--into FOLDER]

The model is EfficientNet-Lite0 with its ImageNet weights, the photograph Chelsea the cat out of scikit-image.
"""

from __future__ import annotations

import argparse
import shlex
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

from models import efficientnet_lite0

MODEL, PHOTOGRAPH = "efficientnet_lite0.onnx", "chelsea.png"
METHOD = "integrated_gradients"
PREPARED = ("--preset", "imagenet-tf", "--set-input", "fit=squash")
"""How this model takes pictures: values from -1 to 1, the whole photograph at 224 x 224."""
COMMAND = ("explain", MODEL, PHOTOGRAPH, *PREPARED, "-m", METHOD, "-f", "png", "-f", "text")


def main() -> int:
    """Make what is missing, show the command, run it, and say where the picture is."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--into", type=Path, default=Path("demo"))
    folder = parser.parse_args().into
    prepare(folder)
    print(f"$ cd {folder}\n$ onnxsal {shlex.join(COMMAND)}\n", flush=True)
    code = subprocess.run([Path(sys.executable).with_name("onnxsal"), *COMMAND], cwd=folder, check=False).returncode
    if code == 0:
        print(f"\nThe picture is {picture(folder).resolve()}")
    return code


def prepare(folder: Path) -> None:
    """Put the model and the photograph into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / MODEL).exists():
        print(f"fetching the weights and exporting {folder / MODEL} ...", flush=True)
        efficientnet_lite0.export(folder / MODEL)
    shutil.copyfile(photograph(PHOTOGRAPH), folder / PHOTOGRAPH)


def photograph(name: str) -> Path:
    """Return one of the photographs that scikit-image's wheel brings."""
    package = find_spec("skimage")
    if package is None or package.origin is None:
        sys.exit("the demonstration needs scikit-image: pip install scikit-image")
    return Path(package.origin).parent / "data" / name


def picture(folder: Path) -> Path:
    """Return where the command leaves its picture."""
    return folder / f"{Path(MODEL).stem}-{METHOD}.png"


if __name__ == "__main__":
    sys.exit(main())
