"""Make the sample models again, from data that ships inside packages.

    python -m models.make [--into FOLDER] [digits] [tumours] [language]

The same versions of the packages on the same kind of machine give the same files.
"""

from __future__ import annotations

import argparse
import importlib
import time
from pathlib import Path

RECIPES = ("digits", "tumours", "language")


def main() -> None:
    """Run the recipes that the command line names, by default all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipes", nargs="*", metavar="RECIPE", help=f"any of {', '.join(RECIPES)}")
    parser.add_argument("--into", type=Path, default=Path(__file__).parent)
    chosen = parser.parse_args()
    (chosen.into / "samples").mkdir(parents=True, exist_ok=True)
    for name in chosen.recipes or RECIPES:
        start = time.perf_counter()
        importlib.import_module(f"models.{name}").make(chosen.into)
        print(f"{name}: {time.perf_counter() - start:.0f} s", flush=True)


if __name__ == "__main__":
    main()
