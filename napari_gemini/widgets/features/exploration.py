"""What is known of explored voxels, and their colours; no window needed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_gemini.engine.arrays import ArrayExchange
from napari_gemini.widgets.canvas.grid import CanvasGrid

NO_LABEL = -1
#: How points can be coloured: key -> words.
COLOUR_BY = {
    "kmeans": "cluster (k-means)",
    "hdbscan": "cluster (HDBSCAN)",
    "label": "label",
    "image": "scan of origin",
    "position": "position",
}
#: What a score is called, in the order they are shown.
SCORES = {
    "labels_silhouette": "Labels: silhouette",
    "kmeans_clusters": "k-means: clusters",
    "kmeans_silhouette": "k-means: silhouette",
    "kmeans_ari": "k-means: ARI",
    "kmeans_nmi": "k-means: NMI",
    "hdbscan_clusters": "HDBSCAN: clusters",
    "hdbscan_clustered_percent": "HDBSCAN: % in a cluster",
    "hdbscan_silhouette": "HDBSCAN: silhouette",
    "hdbscan_ari": "HDBSCAN: ARI",
    "hdbscan_nmi": "HDBSCAN: NMI",
}
_GREY = (0.55, 0.55, 0.55, 1.0)
#: Okabe and Ito's colours, then others that stand apart from them.
_PALETTE = (
    "#e69f00", "#56b4e9", "#009e73", "#d55e00", "#cc79a7", "#0072b2", "#b3a800", "#8c564b",
    "#9467bd", "#17becf", "#bcbd22", "#e377c2", "#2ca02c", "#ff9896", "#7f7fff", "#c49c94",
)  # fmt: skip


@dataclass(eq=False)
class Exploration:
    """Voxels of one scan or two with the layout of their features.

    Attributes
    ----------
    image
        ``(n,)``, 0 or 1.
    index
        ``(n, d)`` voxel of the scan's file.
    world
        ``(n, d)`` RAS mm.
    label
        ``(n,)``, -1 where there are no labels.
    grids
        Canvas grid of each scan.
    facts
        ``model``, ``sentence``, ``features``, ``notes``.
    paths, cases
        File of each scan, and its case in the study, None for none. Scans may share a grid: it
        does not say which is which. Empty where nothing is known.
    coordinates
        ``(n, 2)`` so far; None before the first.
    kmeans, hdbscan
        ``(n,)`` clusters from 1 on, 0 for none; None until they are found.
    scores
        By name, see :data:`SCORES`.
    """

    image: NDArray[np.int64]
    index: NDArray[np.int64]
    world: NDArray[np.float64]
    label: NDArray[np.int64]
    grids: list[CanvasGrid]
    facts: dict[str, Any] = field(default_factory=dict)
    paths: tuple[Path, ...] = ()
    cases: tuple[str | None, ...] = ()
    coordinates: NDArray[np.float32] | None = None
    kmeans: NDArray[np.int64] | None = None
    hdbscan: NDArray[np.int64] | None = None
    scores: dict[str, float | None] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.image)

    @property
    def has_labels(self) -> bool:
        """Whether some voxel has a label."""
        return bool((self.label != NO_LABEL).any())

    @property
    def model_name(self) -> str:
        """What the model is called, short."""
        if self.facts.get("features") != "network":
            return "local descriptors"
        return Path(str(self.facts.get("model"))).name

    def same_voxels(self, other: Exploration) -> bool:
        """Whether two explorations are of the same voxels, in one order."""
        return np.array_equal(self.image, other.image) and np.array_equal(self.index, other.index)


def from_notice(payload: Mapping[str, Any], arrays: ArrayExchange) -> Exploration:
    """Make an exploration of the notice ``sample``; the arrays are copied and let go."""
    names = ("image", "index", "world", "label")
    image, index, world, label = (take(payload[name], arrays) for name in names)
    grids = [
        CanvasGrid.of_affine(
            scan["affine"], scan["shape"], scan["spacing_known"], Path(scan["path"])
        )
        for scan in payload["scans"]
    ]
    facts = {k: v for k, v in payload.items() if k in ("model", "sentence", "features", "notes")}
    paths = tuple(Path(scan["path"]) for scan in payload["scans"])
    return Exploration(image, index, world, label, grids, facts, paths)


def take(ref: Any, arrays: ArrayExchange) -> NDArray[Any]:
    """Copy an array out of the exchange and let its file go."""
    found = np.array(arrays.open(ref))
    arrays.discard(ref)
    return found


def categories(found: Exploration, by: str) -> NDArray[np.int64] | None:
    """Return the category (n,) of each point, -1 for none; None where it is not known."""
    if by == "image":
        return found.image
    if by == "label":
        return found.label if found.has_labels else None
    clusters = {"kmeans": found.kmeans, "hdbscan": found.hdbscan}.get(by)
    return None if clusters is None else np.where(clusters > 0, clusters, NO_LABEL)


def colours_by(
    found: Exploration,
    by: str,
    label_colours: Mapping[int, Any] | None = None,
    label_names: Mapping[int, str] | None = None,
    scan_names: tuple[str, ...] = (),
) -> tuple[NDArray[np.float32], list[tuple[str, str]]]:
    """Colour points.

    Parameters
    ----------
    found
        The voxels.
    by
        A key of :data:`COLOUR_BY`.
    label_colours, label_names
        Of the study's scheme.
    scan_names
        For the legend.

    Returns
    -------
    colours, legend
        (n, 4) RGBA in [0, 1]; and (``#rrggbb``, words) of each category. Grey for points in no
        category, and for all of them while it is not known.
    """
    colours = np.tile(np.array(_GREY, dtype=np.float32), (len(found), 1))
    if by == "position":
        return _by_position(found), [("#888888", "red: L to R, green: P to A, blue: I to S")]
    values = categories(found, by)
    if values is None:
        return colours, []
    legend = []
    for place, value in enumerate(np.unique(values[values != NO_LABEL]).tolist()):
        colour = _colour(by, place, value, label_colours or {})
        chosen = values == value
        colours[chosen] = colour
        words = _words(by, value, label_names or {}, scan_names)
        legend.append((_hex(colour), f"{words} ({int(chosen.sum())})"))
    missing = int((values == NO_LABEL).sum())
    if missing:
        legend.append((_hex(_GREY), f"none ({missing})"))
    return colours, legend


def _by_position(found: Exploration) -> NDArray[np.float32]:
    colours = np.ones((len(found), 4), np.float32)
    colours[:, :3] = 0.5
    for image in np.unique(found.image):
        chosen = found.image == image
        world = found.world[chosen]
        low, high = world.min(axis=0), world.max(axis=0)
        part = (world - low) / np.maximum(high - low, 1e-9)
        # Never black nor white, which one of the themes would hide.
        colours[chosen, : world.shape[1]] = 0.15 + 0.75 * part
    return colours


def _colour(by: str, place: int, value: int, label_colours: Mapping[int, Any]) -> tuple[float, ...]:
    if by == "label" and value == 0:
        return (0.45, 0.45, 0.5, 1.0)
    if by == "label" and value in label_colours:
        return rgba(label_colours[value])
    return rgba(_PALETTE[place % len(_PALETTE)])


def _words(by: str, value: int, label_names: Mapping[int, str], scan_names: tuple[str, ...]) -> str:
    if by == "label":
        return label_names.get(value, "background" if value == 0 else f"label {value}")
    if by == "image":
        return scan_names[value] if value < len(scan_names) else f"scan {value + 1}"
    return f"cluster {value}"


def rgba(colour: Any) -> tuple[float, ...]:
    """Return ``#rrggbb`` or a sequence of numbers as RGBA in [0, 1]."""
    if isinstance(colour, str):
        digits = colour.lstrip("#")
        return (*(int(digits[k : k + 2], 16) / 255 for k in (0, 2, 4)), 1.0)
    values = [float(x) for x in colour][:3]
    return (*(x / 255 if max(values) > 1 else x for x in values), 1.0)


def _hex(colour: tuple[float, ...]) -> str:
    return "#" + "".join(f"{round(255 * x):02x}" for x in colour[:3])
