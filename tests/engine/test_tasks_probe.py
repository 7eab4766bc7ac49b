"""The jobs ``probe``, ``explore`` and ``cluster-map`` on small phantoms."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from napari_gemini.engine.arrays import exchange
from napari_gemini.engine.dispatch import run_job
from napari_gemini.engine.jobs import ClusterMapJob, ExploreJob, ProbeJob
from napari_gemini.engine.tasks import probe_lattice
from napari_gemini.engine.tasks.feature_cache import FeatureCache, cache
from napari_gemini.engine.tasks.probe_lattice import lattice_of
from napari_gemini.errors import EngineError, GeminiError, InputError
from napari_gemini.phantom.cohort import make_cohort
from napari_gemini.phantom.files import write_cohort
from napari_gemini.progress import Cancelled, SilentReporter
from napari_gemini.volumes.reading import read_labels, read_volume
from napari_gemini.volumes.volume import Volume

QUIET = SilentReporter()


class Listener(SilentReporter):
    def __init__(self, stop_at: int | None = None) -> None:
        self.events: list[tuple[str, dict[str, Any]]] = []
        self.stop_at = stop_at

    def event(self, name: str, **payload: Any) -> None:
        self.events.append((name, payload))

    def cancelled(self) -> bool:
        return self.stop_at is not None and len(self.events) >= self.stop_at


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = make_cohort(7, 3, (24, 24, 24), spacing=3.0, headers="oblique", noise=0.02)
    return write_cohort(tmp_path_factory.mktemp("oblique") / "c", made, test=2)


@pytest.fixture(scope="module")
def scans(cohort: Path) -> list[Path]:
    return sorted((cohort / "images").iterdir())[:2]


@pytest.fixture(autouse=True)
def _empty_cache() -> None:
    cache().clear()


def probe(scans: list[Path], **options: Any) -> dict[str, Any]:
    job = ProbeJob(fixed=scans[0], moving=scans[1], model="none", device="cpu", **options)
    return run_job(job, QUIET)


@pytest.mark.parametrize("side", ["fixed", "moving"])
def test_a_scan_resembles_itself_most_at_the_probed_voxel(scans: list[Path], side: str) -> None:
    """Both scans the same: the map's peak is the voxel itself, in the world of its header."""
    scan = read_volume(scans[0])
    voxel = np.array([9, 13, 12])
    point = scan.voxel_to_world(voxel).tolist()
    found = probe([scans[0], scans[0]], side=side, point=point, partner=point)
    similarity = exchange().open(found["map"])
    assert similarity.shape == scan.shape
    assert np.allclose(found["affine"], scan.affine, atol=1e-5)
    assert np.unravel_index(similarity.argmax(), similarity.shape) == tuple(voxel)
    assert np.allclose(found["best"], point, atol=1e-3)
    assert found["best_similarity"] == pytest.approx(1, abs=1e-5)
    assert found["partner_similarity"] == pytest.approx(1, abs=1e-5)
    assert (similarity >= -1).all()
    assert (similarity <= 1).all()
    assert found["features"] == "local descriptors"
    assert any("No model served" in note for note in found["notes"])


def test_the_map_lies_on_the_other_scan(scans: list[Path]) -> None:
    fixed, moving = read_volume(scans[0]), read_volume(scans[1])
    point = fixed.voxel_to_world(np.array([12, 12, 12])).tolist()
    found = probe(scans, side="fixed", point=point)
    assert found["map"]["shape"] == list(moving.shape)
    assert np.allclose(found["affine"], moving.affine, atol=1e-5)
    assert found["partner_similarity"] is None


def test_features_are_kept_until_a_file_changes(scans: list[Path], tmp_path: Path) -> None:
    copy = tmp_path / "copy.nii.gz"
    copy.write_bytes(scans[1].read_bytes())
    pair = [scans[0], copy]
    assert not probe(pair)["cached"]
    again = probe(pair, point=[0.0, 0.0, 0.0])
    assert again["cached"]
    image = nib.load(copy)
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj)[::-1].copy(), image.affine), copy)
    assert not probe(pair)["cached"]


def test_a_point_outside_or_of_another_dimension_is_one_sentence(scans: list[Path]) -> None:
    with pytest.raises(InputError, match="outside of its scan"):
        probe(scans, point=[1e4, 0.0, 0.0])
    with pytest.raises(InputError, match="3 coordinates"):
        probe(scans, point=[0.0, 0.0])


def test_a_missing_model_is_one_sentence(scans: list[Path], tmp_path: Path) -> None:
    job = ProbeJob(fixed=scans[0], moving=scans[1], model=str(tmp_path / "no"), device="cpu")
    with pytest.raises(GeminiError):
        run_job(job, QUIET)


def test_the_cache_is_bounded() -> None:
    kept = FeatureCache(limit=100)
    kept.put("a", 1, 60)
    kept.put("b", 2, 30)
    assert kept.get("a") == 1
    kept.put("c", 3, 40)
    assert (kept.get("b"), kept.get("a"), kept.get("c")) == (None, 1, 3)
    kept.put("d", 4, 101)
    assert kept.get("d") is None
    assert kept.bytes_held <= 100


def test_large_scans_are_thinned_about_their_centre(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe_lattice, "MAX_POINTS", 700)
    affine = np.array([[0, -2.0, 0, 5], [1.5, 0, 0, -7], [0, 0, 3, 1], [0, 0, 0, 1]])
    scan = Volume(np.zeros((16, 17, 18), np.float32), affine)
    shape, thinned, stride = lattice_of(scan, 12)
    assert math.prod(shape) <= 700
    assert stride > 1
    middle = (np.array(scan.shape) - 1) / 2
    assert np.allclose(thinned[:3, :3], affine[:3, :3] * stride)
    centre = thinned @ np.append((np.array(shape) - 1) / 2, 1)
    assert np.allclose(centre, affine @ np.append(middle, 1))


def explore(image: Path, reporter: SilentReporter = QUIET, **options: Any) -> dict[str, Any]:
    given = {"model": "none", "device": "cpu", "samples": 120, "seed": 3}
    return run_job(ExploreJob(image=image, **{**given, **options}), reporter)


def test_a_pair_is_explored_together_and_told_as_it_goes(cohort: Path, scans: list[Path]) -> None:
    labels = cohort / "labels" / scans[0].name
    listener = Listener()
    found = explore(scans[0], listener, image2=scans[1], labels=labels)
    names = [name for name, _ in listener.events]
    assert names[0] == "sample"
    assert names.count("layout") > 10
    sample = listener.events[0][1]
    image, index, world, label = (
        exchange().open(sample[key]) for key in ("image", "index", "world", "label")
    )
    assert np.bincount(image).tolist() == [60, 60]
    # Labels are those of the drawn voxels of the file, positions those of its header.
    known = read_labels(labels)
    assert np.array_equal(label[:60], known.data[tuple(index[:60].T)])
    assert (label[60:] == -1).all()
    assert np.allclose(world[60:], read_volume(scans[1]).voxel_to_world(index[60:]))
    assert np.ptp(np.unique(label[:60], return_counts=True)[1]) <= 1
    last = exchange().open(listener.events[-1][1]["coordinates"])
    assert last.shape == exchange().open(found["coordinates"]).shape == (120, 2)
    assert exchange().open(found["kmeans"]).min() == 1
    assert found["scores"]["kmeans_ari"] is not None


def test_the_same_seed_draws_the_same_voxels(scans: list[Path]) -> None:
    results = []
    for seed in (1, 1, 2):
        listener = Listener()
        found = explore(scans[0], listener, samples=60, seed=seed)
        index = exchange().open(listener.events[0][1]["index"])
        results.append((index, exchange().open(found["coordinates"])))
    assert np.array_equal(results[0][0], results[1][0])
    assert np.allclose(results[0][1], results[1][1])
    assert not np.array_equal(results[0][0], results[2][0])


def test_background_is_left_out_unless_wanted(scans: list[Path]) -> None:
    data = read_volume(scans[0]).data
    darkest = {}
    for foreground in (True, False):
        listener = Listener()
        explore(scans[0], listener, foreground=foreground)
        index = exchange().open(listener.events[0][1]["index"])
        darkest[foreground] = np.quantile(data[tuple(index.T)], 0.25)
    assert darkest[True] > darkest[False]


def test_an_exploration_stops(scans: list[Path]) -> None:
    with pytest.raises(Cancelled):
        explore(scans[0], Listener(stop_at=3))


def test_a_missing_library_is_told_with_its_command(
    scans: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    from napari_gemini.engine.tasks import explore as task

    monkeypatch.setattr(task, "LIBRARIES", {"no_such_tsne": "openTSNE"})
    with pytest.raises(EngineError, match=r"openTSNE.*pip install 'napari-gemini\[engine\]'"):
        explore(scans[0])


def test_clusters_are_spread_to_the_nearest_feature(cohort: Path, scans: list[Path]) -> None:
    """Where a voxel was drawn, its own cluster comes back; the map lies on the scan's grid."""
    labels = read_labels(cohort / "labels" / scans[0].name)
    index = np.argwhere(np.ones(labels.shape))[::37]
    cluster = labels.data[tuple(index.T)].astype(np.int64) + 1
    refs = {
        "image_number": exchange().put(np.zeros(len(index), np.int64)),
        "index": exchange().put(index.astype(np.int64)),
        "cluster": exchange().put(cluster),
    }
    job = ClusterMapJob(image=scans[0], image2=scans[1], model="none", device="cpu", **refs)
    found = run_job(job, QUIET)
    first, second = (exchange().open(ref) for ref in found["maps"])
    assert first.shape == labels.shape
    assert second.shape == read_volume(scans[1]).shape
    assert (first[tuple(index.T)] == cluster).mean() > 0.9
    inside = labels.data > 0
    assert ((first > 1) == inside).mean() > 0.85


def test_no_clusters_cannot_be_spread(scans: list[Path]) -> None:
    refs = {
        "image_number": exchange().put(np.zeros(2, np.int64)),
        "index": exchange().put(np.zeros((2, 3), np.int64)),
        "cluster": exchange().put(np.zeros(2, np.int64)),
    }
    with pytest.raises(InputError, match="no cluster"):
        run_job(ClusterMapJob(image=scans[0], model="none", device="cpu", **refs), QUIET)
