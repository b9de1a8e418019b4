"""Files that nobody else may read."""

import os
from pathlib import Path


def write_private(path: Path, text: str) -> Path:
    """Write a file that its owner alone can read, never readable by others in between; returns its path."""
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
    return path
