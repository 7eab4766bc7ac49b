"""Scans, studies and results dropped on the window; layers saved; sample studies."""

from __future__ import annotations

import hashlib
import http.server
import json
import threading
from functools import partial
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from napari.utils.notifications import notification_manager
from npe2 import PluginManifest

import napari_gemini
from napari_gemini.errors import InputError
from napari_gemini.volumes.reading import read_volume
from napari_gemini.volumes.volume import Volume
from napari_gemini.widgets.canvas.layers import image_layer, labels_layer, layer_info
from napari_gemini.widgets.common.preferences import GROUPS, Preferences
from napari_gemini.widgets.common.session import get_session
from napari_gemini.widgets.files import readers, samples
from napari_gemini.widgets.files.public_study import public_study, read_registry
from napari_gemini.widgets.files.writers import write_image_layer, write_labels_layer
from tests.gui.helpers import AFFINES, MARKER, SHAPE, make_study, write_marked

MANIFEST = Path(napari_gemini.__file__).with_name("napari.yaml")


def test_every_command_of_the_manifest_exists():
    import importlib

    manifest = PluginManifest.from_file(MANIFEST)
    for command in manifest.contributions.commands:
        module, _, name = command.python_name.partition(":")
        assert callable(getattr(importlib.import_module(module), name)), command.id


def test_the_manifest_and_the_preferences_agree():
    properties = {
        group: set(item.properties)
        for group, item in PluginManifest.from_file(MANIFEST).contributions.configurations.items()
    }
    assert properties == {group: set(names) for group, names in GROUPS.items()}
    defaults = {
        name: item.default
        for group in PluginManifest.from_file(MANIFEST).contributions.configurations.values()
        for name, item in group.properties.items()
    }
    assert Preferences(**defaults) == Preferences()


@pytest.mark.parametrize("name", ["a.tif", "a.gz", "a.nii.gz.txt", "a.png", "a.json", "a"])
def test_readers_say_no_to_what_is_not_theirs(tmp_path, name):
    path = tmp_path / name
    path.touch()
    for get_reader in (
        readers.get_scan_reader,
        readers.get_study_reader,
        readers.get_result_reader,
    ):
        assert get_reader(str(path)) is None
        assert get_reader(str(tmp_path)) is None


@pytest.mark.parametrize("name", ["oblique-flipped", "permuted"])
def test_a_dropped_scan_lies_where_it_should(make_napari_viewer, tmp_path, name):
    viewer = make_napari_viewer()
    path = write_marked(tmp_path, name)
    (layer,) = viewer.open(path, plugin="napari-gemini")
    grid = layer_info(layer).grid
    place = grid.voxel_to_data(MARKER)
    assert layer.data[tuple(place.astype(int))] == 100
    truth = nib.affines.apply_affine(AFFINES[name], MARKER)
    np.testing.assert_allclose(grid.data_to_world(place), truth, atol=1e-4)


def test_an_nrrd_is_read_in_the_child(make_napari_viewer, qtbot, tmp_path):
    viewer = make_napari_viewer()
    source = read_volume(write_marked(tmp_path, "anisotropic"))
    image = sitk.ReadImage(str(source.path))
    sitk.WriteImage(image, str(tmp_path / "scan.nrrd"))
    viewer.open(tmp_path / "scan.nrrd", plugin="napari-gemini")
    qtbot.waitUntil(lambda: len(viewer.layers) == 1, timeout=20_000)
    grid = layer_info(viewer.layers[0]).grid
    assert viewer.layers[0].data[tuple(grid.voxel_to_data(MARKER).astype(int))] == 100
    assert get_session(viewer).engine.client.pid is not None


def test_a_bad_file_is_one_sentence_and_no_layer(make_napari_viewer, tmp_path):
    viewer = make_napari_viewer()
    path = tmp_path / "broken.nii.gz"
    path.write_bytes(b"this is no scan")
    told = []
    notification_manager.notification_ready.connect(told.append)
    try:
        viewer.open(path, plugin="napari-gemini")
    finally:
        notification_manager.notification_ready.disconnect(told.append)
    assert len(viewer.layers) == 0
    assert "broken.nii.gz" in str(told[0].message)
    assert "\n" not in str(told[0].message)


def test_a_dropped_study_opens_in_its_dock(make_napari_viewer, tmp_path):
    viewer = make_napari_viewer()
    study = make_study(tmp_path)
    viewer.open(study.folder, plugin="napari-gemini")
    assert get_session(viewer).study.folder == study.folder
    assert any("Study" in name for name in viewer.window.dock_widgets)
    viewer.window.remove_dock_widget("all")


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd"])
def test_saved_layers_are_on_the_scans_grid(tmp_path, suffix):
    source = read_volume(write_marked(tmp_path, "oblique-flipped"))
    labels = Volume(np.zeros(SHAPE, np.uint8), source.affine, path=source.path)
    layer = labels_layer(labels, "labels")
    layer.data[tuple(layer_info(layer).grid.voxel_to_data(MARKER).astype(int))] = 7
    out = tmp_path / f"labels{suffix}"
    data, options, _ = layer.as_layer_data_tuple()
    assert write_labels_layer(str(out), data, options) == [str(out)]

    image = sitk.ReadImage(str(out))
    assert image[MARKER] == 7
    assert np.count_nonzero(sitk.GetArrayViewFromImage(image)) == 1
    reference = sitk.ReadImage(str(source.path))
    np.testing.assert_allclose(image.GetDirection(), reference.GetDirection(), atol=1e-5)
    np.testing.assert_allclose(image.GetOrigin(), reference.GetOrigin(), atol=1e-4)

    data, options, _ = image_layer(source, "scan").as_layer_data_tuple()
    out = tmp_path / f"copy{suffix}"
    write_image_layer(str(out), data, options)
    np.testing.assert_array_equal(read_volume(out).data, source.data)


def test_a_foreign_layer_is_not_written_with_a_guessed_orientation(tmp_path):
    with pytest.raises(InputError, match="does not know how it lies"):
        write_labels_layer(str(tmp_path / "x.nii.gz"), np.zeros((3, 4, 5), int), {"metadata": {}})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("dimension", [2, 3])
def test_the_phantom_study_is_made_once(tmp_path, dimension):
    study = samples.phantom_study(dimension, tmp_path)
    assert study.dimension == dimension
    assert len(study.cases_with("labelled")) == samples.LABELLED
    stamp = (study.folder / "study.json").stat().st_mtime_ns
    assert samples.phantom_study(dimension, tmp_path).folder == study.folder
    assert (study.folder / "study.json").stat().st_mtime_ns == stamp
    assert not list(tmp_path.glob(".making-*"))


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(tmp_path):
    folder = tmp_path / "served"
    folder.mkdir()
    httpd = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), partial(_Quiet, directory=str(folder))
    )
    threading.Thread(target=httpd.serve_forever, daemon=True).start()
    yield folder, f"http://127.0.0.1:{httpd.server_port}"
    httpd.shutdown()
    httpd.server_close()


def _registry(folder: Path, address: str, spoil: bool = False) -> Path:
    files = []
    for name in ("ras", "lps"):
        path = write_marked(folder, name)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        if spoil:
            path.write_bytes(b"something else")
        files.append({"name": path.name, "url": f"{address}/{path.name}", "sha256": digest})
    registry = folder.parent / "registry.json"
    registry.write_text(json.dumps({"name": "pair", "files": files}))
    return registry


def test_the_public_study_is_fetched_and_checked(tmp_path, server):
    registry = _registry(*server)
    study = public_study(tmp_path / "cache", registry)
    assert [case.id for case in study.cases] == ["lps", "ras"]
    for path in server[0].iterdir():
        path.unlink()
    # The second time nothing is fetched.
    assert public_study(tmp_path / "cache", registry).folder == study.folder


def test_a_wrong_file_is_refused_and_not_kept(tmp_path, server):
    registry = _registry(*server, spoil=True)
    with pytest.raises(InputError, match="cannot be fetched"):
        public_study(tmp_path / "cache", registry)
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]


def test_the_registry_names_address_and_hash():
    for item in read_registry()["files"]:
        assert item["url"].startswith("https://")
        assert len(bytes.fromhex(item["sha256"])) == 32


def test_the_docks_are_in_the_menus_of_layers_and_in_the_palette(npe2pm, make_napari_viewer):
    from napari._app_model import get_app_model

    wanted = {
        "annotate": "study",
        "segment": "train",
        "register": "correspondence",
        "visualize": "probe",
        "classify": "features",
    }
    with npe2pm.tmp_plugin(manifest=PluginManifest.from_file(MANIFEST)):
        viewer = make_napari_viewer()
        app = get_app_model()
        for menu, command in wanted.items():
            found = {item.command.id for item in app.menus.get_menu(f"napari/layers/{menu}")}
            assert f"napari-gemini.{command}" in found
        # What the palette lists.
        listed = {item.command.title for item in app.menus.get_menu("_command_pallet_")}
        docks = ("Study", "Train", "Correspondence", "Review", "Probe", "Features")
        assert {f"{name} (GEMINI)" for name in docks} <= listed
        app.commands.execute_command("napari-gemini.study")
        assert any("Study" in name for name in viewer.window.dock_widgets)
        viewer.window.remove_dock_widget("all")
