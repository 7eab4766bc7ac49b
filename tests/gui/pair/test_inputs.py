"""Cases, layers and files as inputs of a pair, and what is refused before anything runs."""

from __future__ import annotations

import gc
from weakref import ref

import nibabel as nib
import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Image, Labels

from napari_gemini.errors import InputError
from napari_gemini.volumes.pictures import write_png
from napari_gemini.volumes.reading import read_labels, read_volume
from napari_gemini.widgets.canvas.grid import CanvasGrid
from napari_gemini.widgets.canvas.layers import image_layer, labels_layer
from napari_gemini.widgets.common.session import get_session
from napari_gemini.widgets.pair.dock import CorrespondenceDock
from napari_gemini.widgets.pair.inputs import (
    Source,
    label_file,
    label_sources,
    scan_file,
    scan_sources,
    volume_of,
)
from napari_gemini.widgets.pair.match_panel import Request
from napari_gemini.widgets.pair.runner import check_request, finest_spacing, prepare_job
from tests.gui.helpers import AFFINES, MARKER, make_study, write_marked
from tests.gui.pair.helpers import make_pair


def test_cases_and_layers_are_offered_once(tmp_path):
    study = make_study(tmp_path)
    model = ViewerModel()
    model.add_layer(image_layer(study.load_image("case0"), "case0", case="case0"))
    model.add_layer(image_layer(make_pair().fixed, "other"))
    model.add_image(np.zeros((5, 5, 3), np.uint8), rgb=True)
    names = [source.name for source in scan_sources(study, model)]
    assert names == ["case0", "case1", "case2", "layer: other"]
    labels = label_sources(study, model, Source("case0", case="case0"))
    assert [source.name for source in labels] == ["labels of case0"]
    assert label_sources(study, model, Source("case1", case="case1")) == []


def test_a_layer_in_no_file_is_written_with_its_place(tmp_path):
    pair = make_pair()
    layer = image_layer(pair.fixed, "made here")
    source = Source("made here", layer=ref(layer))
    path = scan_file(source, None, tmp_path, "fixed")
    found = read_volume(path)
    assert np.allclose(found.affine, pair.fixed.affine, atol=1e-4)
    assert np.allclose(found.data, pair.fixed.data)
    painted = labels_layer(pair.fixed.with_data((pair.fixed.data > 50).astype(np.uint8)), "mine")
    path = label_file(Source("mine", layer=ref(painted)), source, None, tmp_path, "fixed")
    assert np.array_equal(read_labels(path).data, pair.fixed.data > 50)


def test_a_layer_of_a_file_is_that_file(tmp_path):
    path = write_marked(tmp_path, "oblique-flipped")
    layer = image_layer(read_volume(path), "scan")
    assert scan_file(Source("scan", layer=ref(layer)), None, tmp_path, "fixed") == path
    volume = volume_of(layer)
    assert np.allclose(volume.affine, AFFINES["oblique-flipped"])
    assert volume.data[MARKER] == 100


@pytest.mark.parametrize("units", [("mm",) * 3, ("pixel",) * 3])
def test_a_plain_layer_keeps_its_place_on_the_canvas(units):
    data = np.arange(60.0).reshape(3, 4, 5)
    layer = Image(data, scale=(3, 1, 2), translate=(7, -2, 1), units=units)
    volume = volume_of(layer)
    grid = CanvasGrid.of(volume)
    assert np.array_equal(grid.to_canvas(volume.data), data)
    assert np.allclose(grid.layer_options()["translate"], (7, -2, 1))
    assert np.allclose(grid.spacing, (3, 1, 2))


def test_layers_that_are_no_scans_are_refused():
    with pytest.raises(InputError, match="4 axes"):
        volume_of(Image(np.zeros((2, 3, 4, 5))))
    turned = Image(np.zeros((3, 4, 5)), rotate=(10, 20, 30))
    with pytest.raises(InputError, match="rotated"):
        volume_of(turned)


def test_labels_of_the_wrong_shape_are_refused(tmp_path):
    study = make_study(tmp_path)
    wrong = Labels(np.zeros((3, 4, 5), np.uint8), name="wrong")
    source = Source("wrong", layer=ref(wrong))
    with pytest.raises(InputError, match="grid of their image"):
        label_file(source, Source("case0", case="case0"), study, tmp_path, "fixed")
    gone = Source("gone", layer=ref(Image(np.zeros((2, 2)))))
    gc.collect()
    with pytest.raises(InputError, match="no longer open"):
        scan_file(gone, study, tmp_path, "fixed")


def test_two_dimensions_or_one_scan_twice_are_refused(tmp_path):
    study = make_study(tmp_path)
    case = Source("case0", case="case0")
    flat = Image(np.zeros((8, 8)))
    with pytest.raises(InputError, match="chosen twice"):
        check_request(Request(case, Source("case0", case="case0"), "none"), study)
    with pytest.raises(InputError, match="3D and layer is 2D"):
        check_request(Request(case, Source("layer", layer=ref(flat)), "none"), study)


def test_the_job_says_all_of_the_form(tmp_path):
    study = make_study(tmp_path)
    request = Request(
        Source("case0", case="case0"),
        Source("case1", case="case1"),
        "none",
        refine=3,
        moving_labels=Source("labels of case0", case="case0"),
        spacing=2.5,
        similarity="self-similarity",
    )
    job = prepare_job(request, study, tmp_path, tmp_path / "out", "cpu")
    assert job.both
    assert (job.refine, job.spacing, job.device, job.model) == (3, 2.5, "cpu", "none")
    assert job.similarity == "self-similarity"
    assert job.labels == study.labels_path("case0")
    assert job.fixed == study.image_path("case1")
    assert finest_spacing(request.fixed, study) == (2.0, "mm")
    path = tmp_path / "fine.nii.gz"
    nib.save(nib.Nifti1Image(np.ones((4, 4, 4), np.float32), np.diag([0.5, 1, 2, 1])), path)
    assert finest_spacing(Source("f", path=path), None) == (0.5, "mm")
    picture = tmp_path / "flat.png"
    write_png(picture, np.zeros((4, 4), np.uint8))
    assert finest_spacing(Source("p", path=picture), None) == (1.0, "px")


def test_the_case_on_the_canvas_is_fixed_and_a_labelled_one_comes_to_it(
    make_napari_viewer, tmp_path
):
    study = make_study(tmp_path, cases=3)
    session = get_session(make_napari_viewer())
    session.open_study(study.folder)
    for shown, moving in (("case2", "case0"), ("case0", "case1")):
        session.show_case(shown)
        dock = CorrespondenceDock(session.viewer)
        assert dock.match_panel.fixed.source.case == shown
        assert dock.match_panel.moving.source.case == moving
        dock.tear_down()
        dock.deleteLater()
