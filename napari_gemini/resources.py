"""Where shipped models and resources are: one resolver for every kind of installation.

``setup.cfg`` packs the checkout's ``models/`` and ``resources/`` into the package as ``_models``
and ``_resources``. An editable install and a plain checkout have them beside the package instead.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from napari_gemini.errors import EngineError

_PACKAGE = Path(__file__).resolve().parent
_WEIGHTS = "weights.safetensors"

OWN_MODELS = "NAPARI_GEMINI_MODELS"
"""Environment variable that names another folder for fetched and imported models."""


def models_folder() -> Path:
    """Return the folder of shipped models, one subfolder a model.

    Raises
    ------
    EngineError
        If the installation is incomplete.
    """
    return _shipped_folder("models")


def own_models_folder() -> Path:
    """Return the folder of models that the user fetched or imported; it may not exist yet.

    It lies with the user's data, or where the environment variable :data:`OWN_MODELS` says.
    """
    named = os.environ.get(OWN_MODELS)
    if named:
        return Path(named).expanduser().absolute()
    from platformdirs import user_data_path

    return user_data_path("napari-gemini", appauthor=False) / "models"


def find_model(name: str) -> Path | None:
    """Return the folder of a shipped, fetched or imported model, None where there is none."""
    if not name or Path(name).name != name:
        return None
    for folder in (models_folder, own_models_folder):
        # An incomplete installation does not hide the user's own models.
        with contextlib.suppress(EngineError):
            if (folder() / name / _WEIGHTS).is_file():
                return folder() / name
    return None


def resources_folder() -> Path:
    """Return the folder of icons, colour maps and label schemes.

    Raises
    ------
    EngineError
        If the installation is incomplete.
    """
    return _shipped_folder("resources")


def _shipped_folder(name: str, package: Path = _PACKAGE) -> Path:
    packaged = package / f"_{name}"
    if packaged.is_dir():
        return packaged
    checkout = package.parent
    # Only a checkout has setup.cfg there: a folder "models" in site-packages is somebody else's.
    if (checkout / "setup.cfg").is_file() and (checkout / name).is_dir():
        return checkout / name
    raise EngineError(
        f"The shipped {name} are missing from {package}; reinstall napari-gemini "
        "(pip install --force-reinstall napari-gemini)."
    )
