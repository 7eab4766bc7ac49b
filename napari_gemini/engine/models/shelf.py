"""Which models there are by name: those shipped, and those that the user fetched or imported."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from napari_gemini.errors import EngineError, InputError, ModelError
from napari_gemini.learning.card import CARD, ModelCard, read_card
from napari_gemini.resources import find_model, models_folder, own_models_folder

Source = Literal["shipped", "own"]

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


@dataclass(frozen=True)
class ModelEntry:
    """A model that goes by its name.

    Attributes
    ----------
    name
        What ``--model`` takes.
    folder
        Where it is.
    source
        ``shipped`` with this version, or the user's ``own``.
    card
        Its ``model.json``.
    """

    name: str
    folder: Path
    source: Source
    card: ModelCard

    def summary(self) -> dict[str, Any]:
        """Return what a list of models says about it, JSON-ready."""
        about = self.card.about
        return {
            "name": self.name,
            "source": self.source,
            "dimension": self.card.network.dimension,
            "general": self.card.general,
            "objective": self.card.objective,
            "step": self.card.step,
            "base_width": self.card.network.base_width,
            "megabytes": round(folder_size(self.folder) / 1e6, 2),
            "title": about.title if about is not None else "",
            "licence": about.licence if about is not None else "",
            "folder": str(self.folder),
        }


def folder_size(folder: Path) -> int:
    """Return the bytes in the files of a folder."""
    return sum(path.stat().st_size for path in folder.iterdir() if path.is_file())


def list_models() -> list[ModelEntry]:
    """Return every model that goes by its name: shipped ones first, each group by name.

    A folder whose card cannot be read is left out; :func:`find_entry` says what is wrong with it.
    """
    entries = []
    for source, folder in _places():
        for path in sorted(folder.glob(f"*/{CARD}")):
            try:
                entries.append(
                    ModelEntry(path.parent.name, path.parent, source, read_card(path.parent))
                )
            except ModelError:
                continue
    return entries


def _places() -> list[tuple[Source, Path]]:
    own: tuple[Source, Path] = ("own", own_models_folder())
    try:
        return [("shipped", models_folder()), own]
    except EngineError:  # an incomplete installation; the user's own models still work
        return [own]


def find_entry(name: str) -> ModelEntry:
    """Return the model of a name.

    Raises
    ------
    ModelError
        If there is none, or its card is damaged.
    """
    folder = find_model(name)
    if folder is None:
        known = ", ".join(entry.name for entry in list_models())
        raise ModelError(
            f"There is no model named {name!r}: "
            + (f"there are {known}." if known else "none is shipped, fetched or imported yet.")
        )
    source: Source = "own" if folder.parent == own_models_folder() else "shipped"
    return ModelEntry(name, folder, source, read_card(folder))


def new_model_folder(name: str, parent: Path | None = None, *, replace: bool = False) -> Path:
    """Return where a new model of the user goes.

    Parameters
    ----------
    name
        Lower-case letters, digits, dot, dash and underscore.
    parent
        Folder of models; the user's own unless given.
    replace
        Take the place of a model of that name there.

    Raises
    ------
    InputError
        If the name cannot be used, or is taken by what is not to be replaced.
    """
    if not _NAME.fullmatch(name) or name == "none":
        raise InputError(
            f"{name!r} cannot be the name of a model: use lower-case letters, digits, dots and "
            "dashes, such as brain-t1."
        )
    folder = (own_models_folder() if parent is None else parent.absolute()) / name
    taken = folder if folder.exists() else find_model(name) if parent is None else None
    if taken is None or (replace and (folder / CARD).is_file()):
        return folder
    if not replace:
        raise InputError(f"There is a model {name} already in {taken.parent}: choose another name.")
    if taken == folder:
        raise InputError(
            f"{folder} is no model (it has no {CARD}), so it is not replaced: choose another name."
        )
    raise InputError(
        f"The model {name} is shipped with napari-gemini, so it is not replaced: choose another "
        "name, or another folder with --into."
    )
