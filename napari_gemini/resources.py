"""Where shipped models and resources are: one resolver for every kind of installation.

``setup.cfg`` packs the checkout's ``models/`` and ``resources/`` into the package as ``_models``
and ``_resources``. An editable install and a plain checkout have them beside the package instead.
"""

from __future__ import annotations

from pathlib import Path

from napari_gemini.errors import EngineError

_PACKAGE = Path(__file__).resolve().parent


def models_folder() -> Path:
    """Return the folder of shipped models, one subfolder a model.

    Raises
    ------
    EngineError
        If the installation is incomplete.
    """
    return _shipped_folder("models")


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
