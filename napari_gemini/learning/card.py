"""The model card: what ``model.json`` says about weights, enough to use them years later."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from napari_gemini.settings import NetworkSettings

SCHEMA_VERSION = 1


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
    labels
        Label value in files -> name, in the order of the head's channels (background first where
        labels are exclusive).
    weights_sha256
        Hash of ``weights.safetensors``.
    """

    model_config = ConfigDict(extra="ignore")

    schema_version: int = SCHEMA_VERSION
    name: str = ""
    network: NetworkSettings
    spacing_mm: list[float]
    grid_shape: list[int]
    intensity_mode: str = "percentile"
    labels: dict[int, str] = Field(default_factory=dict)
    objective: str = ""
    step: int = 0
    score: float | None = None
    study: str = ""
    data_sha256: dict[str, str] = Field(default_factory=dict)
    versions: dict[str, str] = Field(default_factory=dict)
    weights_sha256: str = ""
    extra: dict[str, Any] = Field(default_factory=dict)

    @property
    def label_values(self) -> list[int]:
        """File values of the head's channels, in channel order."""
        return list(self.labels)
