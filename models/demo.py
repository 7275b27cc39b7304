"""Why does a deployed model see a cat? Export one, ask, and leave a picture.

    python -m models.demo [--into FOLDER]

The model is EfficientNet-Lite0 with its ImageNet weights, the photograph Chelsea the cat out of scikit-image.
"""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

from models import efficientnet_lite0

PREPARED = ("--preset", "inception")
"""How EfficientNet-Lite0's pictures were prepared: values from -1 to 1."""
ASKED = ("-m", "integrated_gradients", "-f", "png", "-f", "text")


def main() -> int:
    """Make what is missing, show the command, run it, and say where the picture is."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--into", type=Path, default=Path("demo"))
    folder = parser.parse_args().into
    model, picture = folder / "efficientnet_lite0.onnx", folder / "cat.png"
    if not model.exists():
        print(f"exporting {model} ...", flush=True)
        efficientnet_lite0.export(model)
    arguments = ["explain", str(model), str(photograph("chelsea.png")), *PREPARED, *ASKED, "-o", str(picture)]
    print("$ onnxsal", shlex.join(arguments), flush=True)
    code = subprocess.run([str(Path(sys.executable).with_name("onnxsal")), *arguments], check=False).returncode
    if code == 0:
        print(f"\nthe picture: {picture.resolve()}")
    return code


def photograph(name: str) -> Path:
    """Return one of the photographs that scikit-image's wheel brings."""
    package = find_spec("skimage")
    if package is None or package.origin is None:
        sys.exit("the demonstration needs scikit-image: pip install scikit-image")
    return Path(package.origin).parent / "data" / name


if __name__ == "__main__":
    sys.exit(main())
