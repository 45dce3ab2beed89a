"""The published test vectors."""

import json
from pathlib import Path

FOLDER = Path(__file__).parents[2] / "vectors"


def read_vectors(name):
    """Return the vectors of one format, which every later release must read too."""
    return json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))["vectors"]
