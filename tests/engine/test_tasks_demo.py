"""The demo with a handful of steps: it runs to its end, measures itself and says so."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_gemini.commands.demo import has_display, open_viewer, summarise_demo
from napari_gemini.commands.viewer import demo_layers, main, on_canvas
from napari_gemini.engine.tasks.demo import DemoPlan, prepare_folder, run_demo
from napari_gemini.errors import InputError
from napari_gemini.progress import SilentReporter
from napari_gemini.volumes.volume import Volume


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
        f"[{stage}/7]" for stage in range(1, 8)
    ]
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


def test_napari_gets_layers_of_one_shape_and_scale(
    finished: tuple[Path, dict[str, Any], Listener],
) -> None:
    pytest.importorskip("napari")
    from napari.components import ViewerModel

    out, _, _ = finished
    viewer = ViewerModel()
    for data, options, kind in demo_layers(out):
        getattr(viewer, f"add_{kind}")(data, **options)
    assert len({layer.data.shape for layer in viewer.layers}) == 1
    assert len({tuple(layer.scale) for layer in viewer.layers}) == 1
    names = [layer.name for layer in viewer.layers]
    assert "predicted labels" in names
    assert "true labels" in names


def test_the_canvas_has_the_front_of_a_volume_on_top() -> None:
    data = np.arange(24).reshape(2, 3, 4)
    shown, scale = on_canvas(Volume(data, np.diag([1.0, 2, 3, 1])))
    assert shown.shape == (4, 3, 2)
    assert scale == (3.0, 2.0, 1.0)
    assert shown[0, 0, 0] == data[0, 2, 0]


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
