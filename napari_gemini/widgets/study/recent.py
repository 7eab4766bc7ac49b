"""The studies that were opened last, over all windows and sessions."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path

from napari_gemini.errors import GeminiError
from napari_gemini.volumes.atomic import write_json_atomic

LIMIT = 8
#: Names another folder than the user's own for what is remembered.
FOLDER_VARIABLE = "NAPARI_GEMINI_CONFIG"


def recent_file() -> Path:
    """Return the file of the list."""
    named = os.environ.get(FOLDER_VARIABLE)
    if named:
        return Path(named) / "recent.json"
    from platformdirs import user_config_path

    return user_config_path("napari-gemini", appauthor=False) / "recent.json"


def recent_studies() -> list[Path]:
    """Return the studies that still exist, the last one first."""
    try:
        found = [Path(str(item)) for item in json.loads(recent_file().read_text("utf-8"))]
    except (OSError, ValueError, TypeError):
        return []
    return [folder for folder in found if (folder / "study.json").is_file()]


def remember_study(folder: Path) -> None:
    """Put a study first; a list that cannot be written is done without."""
    others = [item for item in recent_studies() if item != folder]
    names = [str(item) for item in [folder, *others][:LIMIT]]
    path = recent_file()
    with contextlib.suppress(OSError, GeminiError):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json_atomic(path, names)
