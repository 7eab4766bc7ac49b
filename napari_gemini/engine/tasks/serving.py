"""Which model serves a job: the named one, the shipped one of that dimension, or none."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from napari_gemini.errors import EngineError, ModelError
from napari_gemini.learning.card import ModelCard, read_card
from napari_gemini.learning.checkpoints import LoadedModel, load_model, resolve_model
from napari_gemini.resources import models_folder

if TYPE_CHECKING:
    import torch

    from napari_gemini.networks.gemini import GeminiNetwork
    from napari_gemini.settings import NetworkSettings

NONE = "none"


@dataclass(frozen=True)
class Serving:
    """The model of a job.

    Attributes
    ----------
    name
        What the report says under ``model``: a shipped model's name, a folder, or ``none``.
    sentence
        What is said on screen.
    loaded
        Network and card; None where no model serves.
    """

    name: str
    sentence: str
    loaded: LoadedModel | None = None

    @property
    def network(self) -> GeminiNetwork | None:
        """The network, or None."""
        return None if self.loaded is None else self.loaded.network

    @property
    def card(self) -> ModelCard | None:
        """The model's card, or None."""
        return None if self.loaded is None else self.loaded.card

    @property
    def deforms(self) -> bool:
        """Whether the network's displacements mean anything; else its features guide refinement."""
        return self.card is not None and self.card.deforms


def choose_model(spec: str | None, dimension: int) -> tuple[str, Path | None]:
    """Decide which model serves, without loading it.

    Parameters
    ----------
    spec
        What the user named: a model, ``none`` or nothing.
    dimension
        Of the scans.

    Returns
    -------
    name, folder
        Name for reports, and the folder with the weights (None where no model serves).

    Raises
    ------
    ModelError
        If there is no such model, or it is of the other dimension.
    """
    if spec == NONE:
        return NONE, None
    if spec is None:
        return shipped_model(dimension)
    folder = resolve_model(spec)
    found = read_card(folder).network.dimension
    if found != dimension:
        raise ModelError(
            f"The model {spec} is for {found}D scans and these are {dimension}D; give a "
            f"{dimension}D model, or --model none."
        )
    return str(spec), folder


def shipped_model(dimension: int) -> tuple[str, Path | None]:
    """Return the shipped model of a dimension, or ``none``: see :func:`choose_model`.

    The general model comes first, since nothing is known about the scans; a model of one organ
    serves only where no general one is shipped.
    """
    try:
        folders = sorted(path.parent for path in models_folder().glob("*/model.json"))
    except EngineError:  # an installation without models is as good as one that ships none
        folders = []
    cards = {folder: read_card(folder) for folder in folders}
    fitting = [folder for folder in folders if cards[folder].network.dimension == dimension]
    fitting.sort(key=lambda folder: not cards[folder].general)
    return (fitting[0].name, fitting[0]) if fitting else (NONE, None)


def layout_of(spec: str) -> NetworkSettings:
    """Return the layout for a network that starts from a model.

    Raises
    ------
    ModelError
        If there is no such model.
    """
    return read_card(resolve_model(spec)).starting_layout


def serve(spec: str | None, dimension: int, device: torch.device | str) -> Serving:
    """Load the model that serves a job.

    Parameters
    ----------
    spec, dimension
        As for :func:`choose_model`.
    device
        Where the network goes.

    Raises
    ------
    ModelError
        If it cannot be used.
    """
    name, folder = choose_model(spec, dimension)
    sentence = model_sentence(spec, name, folder, dimension)
    return Serving(name, sentence, None if folder is None else load_model(folder, device))


def model_sentence(spec: str | None, name: str, folder: Path | None, dimension: int) -> str:
    """Say which model serves; arguments as :func:`choose_model` takes and returns them."""
    if folder is None:
        why = "" if spec == NONE else f", since no {dimension}D model is shipped with this version"
        return f"Model: none{why}."
    card = read_card(folder)
    details = [card.objective, f"step {card.step}" if card.step else ""]
    known = ", ".join(part for part in details if part)
    return f"Model: {name} ({known})." if known else f"Model: {name}."
