"""The model card: what ``model.json`` says about weights, enough to use them years later."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from napari_gemini.errors import ModelError
from napari_gemini.settings import NetworkSettings, complete_layout

SCHEMA_VERSION = 1
CARD = "model.json"
README = "README.md"


class Score(BaseModel):
    """One measured number.

    Attributes
    ----------
    what
        What was measured and on what.
    value
        The number; None where it could not be had.
    unit
        Its unit, empty for shares and Dice.
    command
        The command that measures it.
    """

    model_config = ConfigDict(extra="ignore")

    what: str
    value: float | None
    unit: str = ""
    command: str = ""


class About(BaseModel):
    """What people want to know about a model before they use it.

    Attributes
    ----------
    title
        What it is, in a few words.
    trained_on
        Which data it saw.
    data_licence
        Licence of that data.
    licence
        Licence of the weights.
    credit
        Who is to be named.
    machine
        What it was trained on.
    hours
        How long that took.
    scores
        How it was measured.
    limits
        When not to use it, a sentence each.
    recipe
        The command that makes it again.
    """

    model_config = ConfigDict(extra="ignore")

    title: str = ""
    trained_on: str = ""
    data_licence: str = ""
    licence: str = ""
    credit: str = ""
    machine: str = ""
    hours: float | None = None
    scores: list[Score] = Field(default_factory=list)
    limits: list[str] = Field(default_factory=list)
    recipe: str = ""


class ModelCard(BaseModel):
    """Contents of ``model.json``.

    Attributes
    ----------
    network
        Layout of the weights.
    spacing_mm
        Spacing of the study grid in mm (2D images of unknown spacing: pixels).
    grid_shape
        Shape of the study grid in training; the network takes any other multiple of 16 too.
    intensity_mode
        How scans were brought to [0, 1].
    general
        Whether it was trained for scans of any spacing and contrast: grid and intensities then go
        by the scans at hand instead of by this card.
    labels
        Label value in files -> name, in the order of the head's channels (background first where
        labels are exclusive); empty where the head was never trained.
    trained
        Parts of the network that learned something; the others are as they were drawn.
    weights_sha256
        Hash of ``weights.safetensors``.
    dtype
        Precision the weights are stored in; they are computed with in float32.
    about
        What people want to know before they use it.
    """

    model_config = ConfigDict(extra="ignore")

    schema_version: int = SCHEMA_VERSION
    name: str = ""
    network: NetworkSettings
    spacing_mm: list[float]
    grid_shape: list[int]
    intensity_mode: str = "percentile"
    general: bool = False
    labels: dict[int, str] = Field(default_factory=dict)
    objective: str = ""
    trained: list[str] = Field(default_factory=lambda: ["backbone", "deformer", "head"])
    step: int = 0
    score: float | None = None
    study: str = ""
    data_sha256: dict[str, str] = Field(default_factory=dict)
    versions: dict[str, str] = Field(default_factory=dict)
    weights_sha256: str = ""
    dtype: str = "float32"
    about: About | None = None
    extra: dict[str, Any] = Field(default_factory=dict)

    @field_validator("network", mode="before")
    @classmethod
    def _complete(cls, network: Any) -> Any:
        return complete_layout(network)

    @property
    def starting_layout(self) -> NetworkSettings:
        """Layout for a training that starts from this model: an untrained head binds nobody."""
        if "head" in self.trained:
            return self.network
        return self.network.model_copy(update={"head_width": None})

    @property
    def deforms(self) -> bool:
        """Whether its displacements mean anything; else it gives features alone."""
        return "deformer" in self.trained and self.objective != "supervised"

    @property
    def label_values(self) -> list[int]:
        """File values of the head's channels, in channel order."""
        return list(self.labels)


def read_card(folder: Path) -> ModelCard:
    """Read ``model.json`` of a model's folder.

    Raises
    ------
    ModelError
        If it is missing, damaged or of a newer schema.
    """
    path = folder / CARD
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelError(f"'{folder}' has weights but no {CARD}; copy the whole folder.") from None
    except (OSError, ValueError):
        raise ModelError(f"'{path}' is damaged; copy the model's folder again.") from None
    version = content.get("schema_version", 1) if isinstance(content, dict) else None
    if isinstance(version, int) and version > SCHEMA_VERSION:
        raise ModelError(
            f"The model '{folder}' was written by a newer version (schema {version}); "
            "update napari-gemini to use it."
        )
    try:
        return ModelCard.model_validate(content)
    except ValidationError:
        raise ModelError(f"'{path}' does not describe a model; copy the folder again.") from None
