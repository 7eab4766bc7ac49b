"""The pair report on phantoms with a known map: complete, self-contained, escaped, truthful."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from napari_gemini.errors import InputError
from napari_gemini.evaluation import pictures
from napari_gemini.evaluation.pair_files import read_pair
from napari_gemini.evaluation.pair_pictures import PairArtist
from napari_gemini.evaluation.pair_report import write_pair_report
from napari_gemini.evaluation.pair_words import label_table, sentences, tiles
from napari_gemini.evaluation.slices import Slicer
from napari_gemini.volumes.fields import identity_field, write_field
from napari_gemini.volumes.reading import read_volume
from napari_gemini.volumes.volume import Volume
from napari_gemini.volumes.writing import write_volume
from tests.evaluation.conftest import small_cohort
from tests.evaluation.pages import Page

TITLES = [
    "Fixed scan",
    "Moving scan before",
    "Moving scan after (warped)",
    "Warped labels on the fixed scan",
    "Overlay before",
    "Overlay after",
    "Deformation grid on the moving scan",
    "Local volume change (log-Jacobian)",
    "Semantic similarity (GSS)",
    "Visual similarity (GVS)",
]
FOLD_GREEN = (0, 255, 94)


@pytest.fixture
def copy(pair, tmp_path):
    """A pair's folder that a test may damage."""
    return shutil.copytree(pair, tmp_path / "copy")


def change_report(folder, **values):
    path = folder / "report.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


@pytest.fixture(scope="module")
def page(pair):
    return Page(write_pair_report(pair).read_text())


def test_page_is_self_contained(page):
    page.check_self_contained()


def test_page_has_every_picture_and_nothing_is_blank(page):
    assert len(page.pictures) == len(TITLES)
    for title in TITLES:
        picture = page.picture(title)
        assert picture.shape[1] > 900
        assert picture.std() > 10, title


def test_page_says_how_to_repeat_it(page, pair):
    report = json.loads((pair / "report.json").read_text())
    assert "napari-gemini correspond" in page.text
    assert "2.13.0" in page.text
    assert "ab" * 32 in page.text
    assert "settings.refine.levels" not in page.text
    assert "refine.levels" in page.text
    assert report["inputs"]["moving"]["path"] in page.text


def test_page_shows_the_numbers_of_the_report(page, pair):
    report = json.loads((pair / "report.json").read_text())
    assert f"{report['mask_percent']:.1f} %" in page.text
    assert f"{report['gss_mean']:.3f}" in page.text
    assert "0.31 mm" in page.text
    flat = {row[0]: row[1] for table in page.tables for row in table if len(row) == 2}
    assert float(flat["sd_log_jacobian"]) == pytest.approx(report["sd_log_jacobian"], rel=1e-4)


def test_label_table_agrees_with_the_report(page, pair):
    report = json.loads((pair / "report.json").read_text())
    table = next(t for t in page.tables if t[0][0] == "Label")
    assert table[0][:5] == ["Label", "Dice", "HD95 mm", "ASSD mm", "Volume ml"]
    shown = {row[0]: float(row[1]) for row in table[1:]}
    assert shown == pytest.approx(report["dice"], abs=6e-4)
    assert list(shown.values()) == sorted(shown.values())


def test_folds_are_marked_where_there_are_some(pair):
    """The phantom's field has one lattice vector pulled far away, which folds around it."""
    files = read_pair(pair)
    artist = PairArtist(files, {}, {})
    folds = files.array("folds")
    where = tuple(np.argwhere(files.slicer.canonical(folds) == 2)[0])
    artist.position = where
    marked = artist.log_jacobian()
    assert f"{int((folds == 2).sum())} voxels" in marked.key[0].name
    assert count_color(marked.source, FOLD_GREEN) > 20
    files.maps["folds"] = files.maps["folds"].with_data(np.zeros_like(folds))
    assert count_color(PairArtist(files, {}, {}).log_jacobian().source, FOLD_GREEN) == 0


def count_color(source, color):
    picture = Page(f'<img src="{source}">').pictures[0].astype(int)
    return int((np.abs(picture - color).max(axis=-1) < 12).sum())


def test_log_jacobian_is_centred_on_zero(pair, monkeypatch):
    limits = []
    real = pictures.colored
    monkeypatch.setattr(pictures, "colored", lambda *a: limits.append(a[-1]) or real(*a))
    PairArtist(read_pair(pair), {}, {}).log_jacobian()
    assert limits
    assert all(low == -high for low, high in limits)


def test_grid_vertices_are_where_the_true_map_puts_them(pair, monkeypatch):
    files = read_pair(pair)
    artist = PairArtist(files, {}, {})
    artist.position = tuple(length // 4 for length in artist.slicer.shape)
    drawn = []
    real = pictures.mesh
    monkeypatch.setattr(
        pictures, "mesh", lambda axes, points, *r: drawn.append(points) or real(axes, points, *r)
    )
    artist.grid()
    cohort = small_cohort(headers="oblique")
    worlds = [artist.slicer.world_points(v, artist.position) for v in artist.slicer.views]
    truth = [cohort.true_map(0, 1, w.reshape(-1, 3)).reshape(w.shape) for w in worlds]
    mean = np.concatenate(
        [(t - w).reshape(-1, 3) for t, w in zip(truth, worlds, strict=True)]
    ).mean(0)
    for view, points, mapped in zip(artist.slicer.views, drawn, truth, strict=True):
        expected = artist.slicer.picture_points(view, mapped - mean)
        off = np.linalg.norm(points - expected, axis=-1)
        # The field interpolates the truth between lattice points; the folded one lies elsewhere.
        assert np.percentile(off, 99) < 0.1
        straight = artist.slicer.picture_points(
            view, artist.slicer.world_points(view, artist.position)
        )
        assert np.abs(points - straight).max() > 3


def test_identity_draws_a_straight_grid(copy, monkeypatch):
    fixed = read_pair(copy).fixed
    write_field(copy / "field.h5", identity_field(fixed))
    drawn = []
    monkeypatch.setattr(pictures, "mesh", lambda axes, points, *r: drawn.append(points))
    artist = PairArtist(read_pair(copy), {}, {})
    artist.grid()
    for view, points in zip(artist.slicer.views, drawn, strict=True):
        columns = np.arange(points.shape[1]) * artist.slicer.spacing[view.across]
        assert points[..., 0] == pytest.approx(np.broadcast_to(columns, points.shape[:2]), abs=1e-9)


def test_scans_far_apart_are_shown_centre_on_centre(copy):
    """Headers of unrelated scans put the moving one out of sight."""
    report = json.loads((copy / "report.json").read_text())
    moving = read_volume(report["inputs"]["moving"]["path"])
    affine = moving.affine.copy()
    affine[:3, 3] += 500
    write_volume(copy / "far.nii.gz", moving.data, type(moving)(moving.data, affine))
    report["inputs"]["moving"]["path"] = str(copy / "far.nii.gz")
    change_report(copy, inputs=report["inputs"])
    before = PairArtist(read_pair(copy), {}, {}).moving()
    assert "only 0 %" in before.caption
    assert Page(f'<img src="{before.source}">').pictures[0].std() > 10


HOSTILE = '"><script>alert(1)</script><img src=x onerror=alert(2)>'


def test_hostile_names_are_escaped(copy):
    report = json.loads((copy / "report.json").read_text())
    inputs = {**report["inputs"], "note": HOSTILE}
    fixed = copy / "<img src=x onerror=alert(3)>.nii.gz"
    shutil.copy(inputs["fixed"]["path"], fixed)
    inputs["fixed"] = {"path": str(fixed)}
    change_report(
        copy,
        inputs=inputs,
        model=HOSTILE,
        device=HOSTILE,
        command=["napari-gemini", HOSTILE],
        notes=[HOSTILE],
        settings={HOSTILE: HOSTILE},
        **{HOSTILE: HOSTILE},
    )
    names = {1: HOSTILE, 2: r"$\frac{$ </td>", 3: "{{ 7 * 7 }}"}
    colors = {1: "red;background:url(https://example.org/x)", 2: '"><b>', 3: "#00ff00"}
    page = Page(write_pair_report(copy, names=names, colors=colors).read_text())
    page.check_self_contained()
    assert [tag for tag, _ in page.tags].count("img") == len(TITLES)
    assert "b" not in {tag for tag, _ in page.tags}
    assert HOSTILE in page.text
    assert "{{ 7 * 7 }}" in page.text
    assert "49" not in {cell for table in page.tables for row in table for cell in row}


def test_missing_and_broken_parts_are_left_out_and_said(copy):
    report = json.loads((copy / "report.json").read_text())
    report["inputs"]["moving"]["path"] = str(copy / "moved away.nii.gz")
    change_report(copy, inputs=report["inputs"], gss_mean=None)
    for name in ("gss.nii.gz", "field.h5", "labels.nii.gz"):
        (copy / name).unlink()
    (copy / "gvs.nii.gz").write_bytes(b"no image")
    other = read_volume(copy / "folds.nii.gz")
    write_volume(copy / "folds.nii.gz", other.data[:-1], type(other)(other.data[:-1], other.affine))
    page = Page(write_pair_report(copy).read_text())
    page.check_self_contained()
    assert len(page.pictures) == 4
    assert "moved away.nii.gz" in page.text
    assert "folds is not on the grid" in page.text
    assert "gvs.nii.gz" in page.text
    assert not any(t[0][0] == "Label" for t in page.tables if t[0])


def test_nothing_overlaps(copy):
    mask = read_volume(copy / "mask.nii.gz")
    write_volume(copy / "mask.nii.gz", np.zeros(mask.shape, np.uint8), mask)
    change_report(copy, gss_mean=None, gvs_mean=None, mask_percent=0.0, fold_percent=None)
    page = Page(write_pair_report(copy).read_text())
    assert len(page.pictures) == len(TITLES)


def test_nonfinite_maps_are_drawn(copy):
    like = read_volume(copy / "gvs.nii.gz")
    values = like.data.astype(np.float32)
    values[::2] = np.nan
    write_volume(copy / "gvs.nii.gz", values, like)
    write_volume(copy / "log_jacobian.nii.gz", np.full(like.shape, np.nan, np.float32), like)
    assert len(Page(write_pair_report(copy).read_text()).pictures) == len(TITLES)


def test_folder_without_results_is_one_sentence(tmp_path):
    with pytest.raises(InputError, match=r"report\.json does not exist"):
        write_pair_report(tmp_path)
    (tmp_path / "report.json").write_text("{}")
    with pytest.raises(InputError, match="holds neither"):
        write_pair_report(tmp_path)
    (tmp_path / "report.json").write_text("[1")
    with pytest.raises(InputError, match="cannot be read"):
        write_pair_report(tmp_path)


def test_two_dimensional_pictures(picture_pair, tmp_path):
    out = tmp_path / "page.html"
    assert write_pair_report(picture_pair, out=out) == out
    page = Page(out.read_text())
    page.check_self_contained()
    assert len(page.pictures) == len(TITLES)
    assert not any("mm" in column for table in page.tables for column in table[0])
    assert " mm" not in " ".join(
        tile.value + tile.hint for tile in tiles(read_pair(picture_pair).report)
    )
    letters = np.array([0xF2, 0xD1, 0x6B])
    assert (np.abs(page.picture("Fixed scan").astype(int) - letters).max(axis=-1) > 8).all()


def test_letters_stand_on_volumes(page):
    letters = np.array([0xF2, 0xD1, 0x6B])
    assert (np.abs(page.picture("Fixed scan").astype(int) - letters).max(axis=-1) < 8).any()


def test_anisotropic_voxels_keep_their_shape():
    """Width and height of every slice on the picture are in the proportion of millimetres."""
    volume = Volume(np.zeros((40, 30, 12)), np.diag([0.7, 1.4, 4.0, 1.0]))
    slicer = Slicer(volume)
    views = slicer.views

    def draw(axes, view):
        shape = slicer.cut(volume.data, view, (3, 3, 3)).shape
        picture = np.broadcast_to(np.eye(3)[views.index(view)], (*shape, 3))
        axes.imshow(picture, extent=slicer.extent(view))

    source = pictures.slice_row(slicer, draw, letters=False, dpi=100)
    drawn = Page(f'<img src="{source}">').pictures[0]
    scales = []
    for index, view in enumerate(views):
        height, width = np.ptp(np.argwhere(drawn[..., index] > 200), axis=0) + 1
        across, down = slicer.size(view)
        assert width / height == pytest.approx(across / down, rel=0.03)
        scales.append(width / across)
    assert scales == pytest.approx([scales[0]] * 3, rel=0.03)


def test_sentences_follow_the_numbers():
    said = " ".join(sentences({"fold_percent": 0.0, "fold_percent_digital": 0.0, "model": "none"}))
    assert "folds nowhere" in said
    assert "can be inverted" in said
    assert "No model was used" in said
    said = " ".join(sentences({"fold_percent": 0.001, "fold_percent_digital": 1.5, "model": "m"}))
    assert "< 0.01 %" in said
    assert "1.50 %" in said
    assert "no unique counterpart" in said
    assert "The model was m" in said
    assert sentences({"model": {"name": "brain"}}) == ["The model was brain."]
    assert tiles({}) == []


def test_label_table_measures_within_the_label(pair):
    files = read_pair(pair)
    files.fixed_labels = None
    files.report["dice"] = {}
    half = files.maps["mask"].data.copy()
    half[: half.shape[0] // 2] = 0
    files.maps["mask"] = files.maps["mask"].with_data(half)
    table = label_table(files, {1: "first"}, {})
    column = [c.title for c in table.columns].index("GVS")
    labels, gvs = files.labels.data, files.array("gvs")
    for row in table.rows:
        value = int(row[0].shown.split()[0])
        inside = (labels == value) & files.mask
        assert float(row[column].value) == pytest.approx(gvs[inside].mean(), rel=1e-5)
    assert table.rows[0][0].shown == "1  first"
    size = [c.title for c in table.columns].index("Volume ml")
    voxel = abs(np.linalg.det(files.grid.affine[:3, :3])) / 1000
    assert float(table.rows[0][size].value) == pytest.approx((labels == 1).sum() * voxel)
