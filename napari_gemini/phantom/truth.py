"""The true correspondence of a cohort: maps, landmarks and target registration error."""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_gemini.errors import InputError
from napari_gemini.phantom.deformation import CaseMap, SplineVelocity
from napari_gemini.phantom.shapes import NAMES, anatomy, labels_of

Floats = NDArray[np.float64]

SCHEMA_VERSION = 1
LANDMARKS_PER_LABEL = 8


@dataclass(frozen=True)
class Landmarks:
    """Corresponding points.

    Attributes
    ----------
    names
        One name per point, for instance ``ventricle 3``; the same in every scan.
    labels : (N,) int
        Structure each point lies in.
    points : (N, d) float64
        Positions in RAS mm (of the template, or of one scan's world).
    inside : (N,) bool
        Whether the point lies in the scan's field of view (always true for the template).
    """

    names: tuple[str, ...]
    labels: NDArray[np.int_]
    points: Floats
    inside: NDArray[np.bool_]


@dataclass(frozen=True)
class Truth:
    """What is known about a phantom cohort.

    Attributes
    ----------
    names
        Name of each label.
    maps
        Map between the template and each scan.
    grids
        Affine (4, 4) and shape of each scan.
    template
        Landmarks of the template.
    """

    names: dict[int, str]
    maps: dict[str, CaseMap]
    grids: dict[str, tuple[Floats, tuple[int, ...]]]
    template: Landmarks

    def _map(self, case: str) -> CaseMap:
        try:
            return self.maps[case]
        except KeyError:
            raise InputError(
                f"The truth knows no case named {case!r}: use one of its {len(self.maps)} cases."
            ) from None

    def true_map(self, fixed: str, moving: str, points_world: Floats) -> Floats:
        """Map points of the fixed scan to the same anatomy in the moving scan.

        Parameters
        ----------
        fixed, moving
            Ids of the two cases.
        points_world : (N, d) float
            Points in the fixed scan's world (RAS mm; pixels for pictures). A third column that
            2D points may have is kept as it is.

        Returns
        -------
        (N, d) float64
            Points in the moving scan's world.
        """
        points = np.asarray(points_world, dtype=np.float64)
        source, target = self._map(fixed), self._map(moving)
        d = source.ndim
        mapped = target.from_template(source.to_template(points[:, :d]))
        return np.concatenate([mapped, points[:, d:]], axis=1)

    def landmarks(self, case: str) -> Landmarks:
        """Return the landmarks of one scan, positions in its world."""
        points = self._map(case).from_template(self.template.points)
        affine, shape = self.grids[case]
        d = points.shape[1]
        voxels = (points - affine[:d, 3]) @ np.linalg.inv(affine[:d, :d]).T
        inside = np.all((voxels >= 0) & (voxels <= np.array(shape) - 1.0), axis=1)
        return Landmarks(self.template.names, self.template.labels, points, inside)

    def target_registration_error(self, fixed: str, moving: str, predicted: Floats) -> Floats:
        """Return how far predicted landmarks are from the true ones.

        Parameters
        ----------
        fixed, moving
            Ids of the two cases.
        predicted : (N, d) float
            Where the registration says ``landmarks(fixed).points`` are in the moving scan.

        Returns
        -------
        (N,) float64
            Distances in mm (pixels for pictures), NaN for landmarks that one of the two fields of
            view does not hold.
        """
        start, end = self.landmarks(fixed), self.landmarks(moving)
        d = end.points.shape[1]
        distance = np.linalg.norm(np.asarray(predicted)[:, :d] - end.points, axis=1)
        return np.where(start.inside & end.inside, distance, np.nan)


def template_landmarks(half_extent: Floats) -> Landmarks:
    """Choose landmarks of the template: a few fixed points well inside each structure.

    Parameters
    ----------
    half_extent : (d,) float
        Half of the full field of view in mm.

    Returns
    -------
    Landmarks
        :data:`LANDMARKS_PER_LABEL` points per structure.
    """
    half_extent = np.asarray(half_extent, dtype=np.float64)
    rng = np.random.default_rng(20250205)
    candidates = rng.uniform(-0.95, 0.95, (60_000, len(half_extent))) * half_extent
    labels = labels_of(anatomy(candidates, half_extent))
    chosen = np.concatenate(
        [np.flatnonzero(labels == value)[:LANDMARKS_PER_LABEL] for value in NAMES]
    )
    numbers: dict[int, int] = {}
    names = []
    for value in labels[chosen]:
        numbers[int(value)] = numbers.get(int(value), 0) + 1
        names.append(f"{NAMES[int(value)]} {numbers[int(value)]}")
    return Landmarks(
        tuple(names),
        labels[chosen].astype(int),
        candidates[chosen],
        np.ones(len(chosen), dtype=bool),
    )


def write_truth(folder: Path, truth: Truth) -> None:
    """Write maps and landmarks into `folder` (``truth.json``, ``maps/``, ``landmarks/``)."""
    (folder / "maps").mkdir(parents=True, exist_ok=True)
    (folder / "landmarks").mkdir(exist_ok=True)
    cases = {}
    for name, case in truth.maps.items():
        affine, shape = truth.grids[name]
        cases[name] = {
            "matrix": case.matrix.tolist(),
            "origin": case.velocity.origin.tolist(),
            "step": case.velocity.step.tolist(),
            "affine": affine.tolist(),
            "shape": list(shape),
        }
        np.save(folder / "maps" / f"{name}.npy", case.velocity.coefficients, allow_pickle=False)
        _write_landmarks(folder / "landmarks" / f"{name}.csv", truth.landmarks(name))
    document = {
        "schema_version": SCHEMA_VERSION,
        "names": {str(value): name for value, name in truth.names.items()},
        "template": {
            "names": list(truth.template.names),
            "labels": truth.template.labels.tolist(),
            "points": truth.template.points.tolist(),
        },
        "cases": cases,
    }
    (folder / "truth.json").write_text(json.dumps(document, indent=1), encoding="utf-8")


def _write_landmarks(path: Path, landmarks: Landmarks) -> None:
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["name", "label", *"xyz"[: landmarks.points.shape[1]], "inside"])
        rows = zip(
            landmarks.names, landmarks.labels, landmarks.points, landmarks.inside, strict=True
        )
        for name, label, point, inside in rows:
            writer.writerow([name, int(label), *(f"{x:.6f}" for x in point), int(inside)])


def read_truth(folder: str | Path) -> Truth:
    """Read what :func:`napari_gemini.phantom.files.write_cohort` wrote.

    Parameters
    ----------
    folder
        The cohort's folder, or its ``truth`` folder.

    Returns
    -------
    Truth
        Maps and landmarks.

    Raises
    ------
    InputError
        If the folder holds no truth or one of another version.
    """
    folder = Path(folder)
    if (folder / "truth").is_dir():
        folder = folder / "truth"
    path = folder / "truth.json"
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(
            f"{folder} holds no true maps (truth.json): name the folder of a phantom cohort."
        ) from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read ({error}): make the cohort again.") from error
    if document.get("schema_version") != SCHEMA_VERSION:
        raise InputError(
            f"{path} has version {document.get('schema_version')}, this program knows "
            f"{SCHEMA_VERSION}: make the cohort again or update napari-gemini."
        )
    maps, grids = {}, {}
    for name, case in document["cases"].items():
        coefficients = np.load(folder / "maps" / f"{name}.npy", allow_pickle=False)
        velocity = SplineVelocity(coefficients, np.array(case["origin"]), np.array(case["step"]))
        maps[name] = CaseMap(velocity, np.array(case["matrix"]))
        grids[name] = (np.array(case["affine"]), tuple(case["shape"]))
    template = document["template"]
    labels = np.array(template["labels"], dtype=int)
    return Truth(
        names={int(value): name for value, name in document["names"].items()},
        maps=maps,
        grids=grids,
        template=Landmarks(
            tuple(template["names"]),
            labels,
            np.array(template["points"]),
            np.ones(len(labels), dtype=bool),
        ),
    )
