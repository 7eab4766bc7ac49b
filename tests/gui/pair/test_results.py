"""Results on disk: opened through the child, read map by map, swapped, copied."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from napari_gemini.engine.client import EngineClient
from napari_gemini.errors import InputError
from napari_gemini.volumes.volume import Volume
from napari_gemini.widgets.canvas.layers import layer_info
from napari_gemini.widgets.pair.export import export_pair
from napari_gemini.widgets.pair.folds import Fold
from napari_gemini.widgets.pair.map_layers import MAPS, role_of
from napari_gemini.widgets.pair.shown import first, world_to_data
from tests.gui.pair.helpers import make_pair, true_map


def opened(dock, qtbot, folder):
    dock.open_result(folder)
    qtbot.waitUntil(lambda: not dock.runner.busy, timeout=60_000)


def no_torch(tmp_path):
    """An engine whose Python has no torch."""
    (tmp_path / "torch.py").write_text("raise ImportError('No module named torch', name='torch')")
    return EngineClient(environment={"PYTHONPATH": str(tmp_path)})


def test_a_result_is_opened_without_torch(open_pair, qtbot, result, tmp_path):
    viewer, dock, session = open_pair()
    session.engine.client = no_torch(tmp_path)
    opened(dock, qtbot, result)
    pair = session.pair
    assert dock.messages.level == "info"
    assert np.array_equal(dock.partner.model.layers[0].data.shape, pair.moving_grid.shape)

    # Every map lies on the fixed scan's voxels, and its voxels under the cursor are the file's.
    for stem in MAPS:
        dock.evidence_panel.maps[stem].setChecked(True)
    roles = [role_of(stem) for stem in MAPS]
    qtbot.waitUntil(lambda: all(first(viewer, role) is not None for role in roles), timeout=30_000)
    voxel = (11, 14, 8)
    place = pair.fixed_grid.voxel_to_data(voxel).astype(int)
    for stem in ("log_jacobian", "gss", "gvs", "inverse_consistency"):
        layer = first(viewer, role_of(stem))
        assert layer.data[tuple(place)] == pytest.approx(pair.volume(stem).data[voxel])
        assert layer_info(layer).provenance["result"] == str(result)
    low, high = first(viewer, "log_jacobian").contrast_limits
    assert low == -high
    # Colours of GSS begin where its values do, or a good pair would be of one colour.
    low, high = first(viewer, "gss").contrast_limits
    percentile = np.percentile(pair.volume("gss").data, 1)
    assert percentile - 0.05 <= low <= percentile
    assert high == 1
    assert (
        first(viewer, "folds").data[tuple(pair.fixed_grid.voxel_to_data((3, 4, 5)).astype(int))]
        == 2
    )

    # The status line.
    world = pair.fixed.voxel_to_world(voxel)
    words = dock.view.words_at(viewer.layers["fixed"], place)
    length = np.linalg.norm(pair.displacement(world))
    jacobian = np.exp(pair.volume("log_jacobian").data[voxel])
    gss = pair.volume("gss").data[voxel]
    assert words == f"displaced {length:.1f} mm · J {jacobian:.2f} · GSS {gss:.2f}"
    position = viewer.layers["fixed"].data_to_world(place)
    viewer.cursor.position = position
    assert words in session.readout.words()

    # Folds: a table, largest first, and the way there.
    table = dock.evidence_panel.table
    qtbot.waitUntil(lambda: table.rowCount() == 2, timeout=10_000)
    assert [table.item(0, column).text() for column in (0, 2)] == ["4", "4"]
    dock.evidence_panel.fold_chosen.emit(1)
    shown = world_to_data(pair.fixed_grid, viewer.dims.point)
    assert np.allclose(np.rint(shown), pair.fixed_grid.voxel_to_data((10, 12, 8)))

    # A map that the user deletes is switched off; no error.
    viewer.layers.remove(first(viewer, "gvs"))
    qtbot.waitUntil(lambda: not dock.evidence_panel.maps["gvs"].isChecked())
    assert dock.evidence_panel.maps["gss"].isChecked()

    # Numbers, in words, and per label.
    panel = dock.numbers_panel
    qtbot.waitUntil(lambda: panel.evidence.rowCount() > 5 and panel.labels.rowCount() == 1)
    rows = {panel.evidence.item(r, 0).text().strip(): panel.evidence.item(r, 1).text()
            for r in range(panel.evidence.rowCount())}  # fmt: skip
    assert rows["Inverse consistency"] == "0.10 mm"
    assert rows["95 % are below"] == "0.40 mm"
    heads = [panel.labels.horizontalHeaderItem(c).text() for c in range(panel.labels.columnCount())]
    assert heads == ["Label", "Dice", "Size", "Folds %", "GSS"]
    assert "Moving / fixed size" in panel.labels.horizontalHeaderItem(2).toolTip()
    assert panel.labels.item(0, 1).text() == "0.830"
    assert "not that they are right" in panel.words.text()

    # What needs torch says what to do.
    dock.match_panel.moving.choose_file(pair.moving.path)
    dock.match_panel.fixed.choose_file(pair.fixed.path)
    dock.start()
    qtbot.waitUntil(lambda: dock.messages.level == "error", timeout=30_000)
    assert "pip install 'napari-gemini[engine]'" in dock.messages.text

    # The other direction is there without computing anything.
    dock.swap()
    other = session.pair
    assert other.folder == result / "inverse"
    assert np.allclose(other.map_moving_to_fixed(world), true_map(world), atol=0.02)
    fixed = [layer for layer in viewer.layers if layer_info(layer).role == "image"]
    assert [layer_info(layer).path for layer in fixed] == [other.fixed.path]
    dock.swap()
    assert session.pair.folder == result


def test_copies_are_whole_and_replace_nothing(result, tmp_path):
    pair = make_pair()
    pair.folder = result
    made = export_pair(pair, tmp_path)
    names = {path.relative_to(made).as_posix() for path in made.rglob("*") if path.is_file()}
    assert {"field.h5", "report.json", "gss.nii.gz", "inverse/field.h5"} <= names
    assert [path.name for path in tmp_path.iterdir()] == [made.name]
    with pytest.raises(InputError, match="exists already"):
        export_pair(pair, tmp_path)
    pair.folder = tmp_path / "gone"
    with pytest.raises(InputError, match="no longer on disk"):
        export_pair(pair, tmp_path)


def test_ranks_stand_beside_the_numbers_of_a_study(result, tmp_path):
    from napari_gemini.widgets.pair.numbers import collect, headline

    pairs = tmp_path / "pairs"
    for name, gss in (("a__b", 0.9), ("c__b", 0.7), ("d__b", 0.95)):
        (pairs / name).mkdir(parents=True)
        report = {**json.loads((result / "report.json").read_text()), "gss_mean": gss}
        (pairs / name / "report.json").write_text(json.dumps(report))
    pair = make_pair()
    pair.folder, pair.report = pairs / "a__b", json.loads((result / "report.json").read_text())
    numbers = collect(pair, pairs, {})
    assert numbers.others == 2
    ranks = {row.title: row.rank.short for row in numbers.rows if row.rank}
    assert ranks["GSS"] == "2 of 3"
    assert numbers.labels is None
    assert headline(pair) == "moving scan → fixed scan, no model, Dice 0.83"


def test_what_is_no_result_says_so(open_pair, qtbot, result, tmp_path):
    _viewer, dock, session = open_pair()
    opened(dock, qtbot, tmp_path)
    assert dock.messages.level == "error"
    assert "report.json does not exist" in dock.messages.text
    broken = tmp_path / "broken"
    shutil.copytree(result, broken)
    (broken / "field.h5").write_bytes(b"no field")
    opened(dock, qtbot, broken)
    assert "field.h5" in dock.messages.text
    assert session.pair is None
    assert not dock.look_panel.isEnabled()

    # A damaged map is a sentence, and its toggle goes back.
    shutil.copy(result / "field.h5", broken / "field.h5")
    (broken / "gvs.nii.gz").write_bytes(b"no map")
    opened(dock, qtbot, broken)
    dock.evidence_panel.maps["gvs"].setChecked(True)
    qtbot.waitUntil(lambda: dock.messages.level == "warning", timeout=10_000)
    assert "gvs.nii.gz" in dock.messages.text
    assert not dock.evidence_panel.maps["gvs"].isChecked()


def test_flat_scans_have_everything_but_slices(open_pair, qtbot):
    from napari_gemini.volumes.displacement import identity_field
    from napari_gemini.widgets.pair.pair_data import PairData

    affine = np.eye(4)
    image = np.random.default_rng(0).uniform(0, 255, (40, 30)).astype(np.float32)
    fixed = Volume(image, affine, spacing_known=False)
    field = identity_field(fixed)
    pair = PairData(fixed, Volume(image, affine, spacing_known=False), field, field)
    _viewer, dock, _session = open_pair(pair)
    dock.evidence_panel.grid.setChecked(True)
    dock.evidence_panel.arrows.setChecked(True)
    dock.look_panel.view.setCurrentIndex(1)
    for index in range(dock.look_panel.mode.count()):
        dock.look_panel.mode.setCurrentIndex(index)
    dock.look_panel.t.setValue(50)
    dock.view.cursor.jump_to("fixed", fixed.voxel_to_world([12, 9]))
    assert "row 9.0 column 12.0" in dock.partner.words
    assert "px" in dock.look_panel.partner.text()
    maps = dock.evidence_panel
    assert maps.unit.text() == "px"
    pair.keep("log_jacobian", fixed.with_data(np.full((40, 30), np.log(1e-9), np.float32)))
    assert dock.view.words_of(fixed.voxel_to_world([12, 9])).endswith("J ≤ 0, a fold")
    dock.controls.set_folds([Fold(5, 5.0, 2, (12, 9))])
    assert "1 folded region, 5 pixels" in maps.fold_words.text()
    assert maps.table.horizontalHeaderItem(0).text() == "Pixels"
    assert maps.table.isColumnHidden(1)
