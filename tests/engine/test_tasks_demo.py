"""The demo with a handful of steps: it runs to its end, measures itself and says so."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from napari_gemini import resources
from napari_gemini.commands.demo import has_display, open_viewer, summarise_demo
from napari_gemini.engine.tasks import serving
from napari_gemini.engine.tasks.demo import (
    DemoPlan,
    correspond_with_shipped,
    prepare_folder,
    run_demo,
)
from napari_gemini.errors import InputError
from napari_gemini.progress import SilentReporter
from napari_gemini.study.study import Study
from napari_gemini.widgets.canvas.layers import layer_info
from napari_gemini.widgets.common.session import get_session
from napari_gemini.widgets.files.demo_window import main, open_demo
from tests.models.helpers import write_model


class Listener(SilentReporter):
    def __init__(self) -> None:
        self.messages: list[str] = []
        self.stages: set[str] = set()

    def log(self, message: str, level: str = "info") -> None:
        self.messages.append(message)

    def progress(self, done: int, total: int, message: str = "", **values: float) -> None:
        self.stages.add(message[:5])


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any], Listener]:
    out = tmp_path_factory.mktemp("demo") / "out"
    listener = Listener()
    plan = DemoPlan(out, 2, "cpu", scans=9, test=2, steps=4, refine=20)
    return out, run_demo(plan, listener), listener


def test_the_demo_measures_itself_against_the_truth(
    finished: tuple[Path, dict[str, Any], Listener],
) -> None:
    out, result, listener = finished
    assert json.loads((out / "demo.json").read_text()) == result
    assert Path(result["report"]).is_file()
    assert result["predicted"] == 4
    assert set(result["shows"]) == {"better_dice", "tre_halved", "no_folds"}
    assert 0 < result["tre"]["after"] < result["tre"]["before"]
    assert result["tre"]["unit"] == "px"
    assert result["fold_percent_digital"] == 0
    assert [message[:5] for message in listener.messages if message.startswith("[")] == [
        f"[{stage}/8]" for stage in range(1, 9)
    ]
    assert any("shipped model: general-2d" in message for message in listener.messages)
    page = Path(result["report"]).read_text()
    assert "five-label U-Net" in page
    assert "GEMINI-Semi" in page


def test_the_demo_says_what_it_did_not_show(
    finished: tuple[Path, dict[str, Any], Listener],
) -> None:
    _, result, _ = finished
    shows = {"better_dice": False, "tre_halved": False, "no_folds": True}
    text = "\n".join(summarise_demo({**result, "shows": shows}))
    assert "NOT BETTER" in text
    assert "NOT HALVED" in text
    assert result["report"] in text


def test_the_shipped_model_is_tried_on_the_pair_too(
    finished: tuple[Path, dict[str, Any], Listener],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out, result, _ = finished
    write_model(tmp_path / "models" / "general-2d", general=True)
    monkeypatch.setattr(serving, "models_folder", lambda: tmp_path / "models")
    monkeypatch.setattr(resources, "models_folder", lambda: tmp_path / "models")
    plan, study = DemoPlan(out, 2, "cpu"), Study.open(out / "study")
    shipped = correspond_with_shipped(plan, study, SilentReporter())
    assert shipped is not None
    assert shipped["model"] == "general-2d"
    # A fresh deformer starts at the identity, and the refinement brings the landmarks closer.
    assert shipped["after"] < result["tre"]["before"]
    text = "\n".join(summarise_demo({**result, "shipped": shipped}))
    assert "shipped model general-2d" in text
    monkeypatch.setattr(serving, "models_folder", lambda: tmp_path / "nothing")
    assert correspond_with_shipped(plan, study, SilentReporter()) is None
    assert "shipped" not in "\n".join(summarise_demo({**result, "shipped": None}))


@pytest.mark.gui
@pytest.mark.skipif(not has_display(), reason="no display: run under xvfb-run")
def test_napari_shows_the_study_and_the_pair(
    finished: tuple[Path, dict[str, Any], Listener], make_napari_viewer: Any, qtbot: Any
) -> None:
    out, result, _ = finished
    viewer = make_napari_viewer()
    open_demo(viewer, out)
    session = get_session(viewer)
    qtbot.waitUntil(lambda: session.pair is not None, timeout=30_000)
    assert session.study is not None
    assert session.case == result["pair"]["fixed"]
    assert session.pair.fixed_case == result["pair"]["fixed"]
    roles = {info.role for info in map(layer_info, viewer.layers) if info is not None}
    assert {"image", "labels", "prediction"} <= roles
    assert len({tuple(layer.scale) for layer in viewer.layers}) == 1


def test_only_an_earlier_demo_is_replaced(tmp_path: Path) -> None:
    prepare_folder(tmp_path / "demo")
    (tmp_path / "demo" / "study").mkdir()
    prepare_folder(tmp_path / "demo")
    assert [path.name for path in (tmp_path / "demo").iterdir()] == ["demo.json"]
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").touch()
    (tmp_path / "file").touch()
    for name in ("mine", "file"):
        with pytest.raises(InputError):
            prepare_folder(tmp_path / name)
    assert (tmp_path / "mine" / "thesis.txt").exists()


def test_where_there_is_no_display(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "--headless" in open_viewer(tmp_path, headless=True)
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    if not has_display():
        assert "no display" in open_viewer(tmp_path, headless=False)


def test_the_viewer_needs_a_folder(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "folder" in capsys.readouterr().err
