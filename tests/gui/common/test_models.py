"""Which models a dock offers."""

from __future__ import annotations

from pathlib import Path

import pytest

from napari_gemini import resources
from napari_gemini.widgets.common.models import NO_MODEL, model_choices
from tests.models.helpers import write_model


def test_fetched_and_imported_models_are_offered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NAPARI_GEMINI_MODELS", str(tmp_path))
    write_model(tmp_path / "heart-2d")
    write_model(tmp_path / "brain-3d", dimension=3)
    offered = {choice.spec: choice for choice in model_choices(None, 2)}
    assert offered["heart-2d"].description == "fetched or imported"
    assert "brain-3d" not in offered
    assert list(offered)[-1] == NO_MODEL
    assert {"heart-2d", "brain-3d"} <= {choice.spec for choice in model_choices(None, None)}


def test_an_installation_without_models_offers_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The defaults of the function hold the package's folder: put another one there.
    monkeypatch.setattr(resources._shipped_folder, "__defaults__", (tmp_path / "package",))
    monkeypatch.setenv("NAPARI_GEMINI_MODELS", str(tmp_path / "own"))
    write_model(tmp_path / "own" / "heart-2d")
    assert [choice.spec for choice in model_choices(None, 2)] == ["heart-2d", NO_MODEL]
