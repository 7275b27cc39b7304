"""``python -m onnxsal``."""

from __future__ import annotations

from onnxsal.cli import main

if __name__ == "__main__":
    main()
