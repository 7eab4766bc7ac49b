"""The pictures of one correspondence, on slices through the middle of what both scans show."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_gemini.evaluation import pictures
from napari_gemini.evaluation.pair_files import PairFiles
from napari_gemini.evaluation.slices import View, sample
from napari_gemini.evaluation.tables import KeyEntry, Picture
from napari_gemini.volumes.fields import map_points

GRID_LINES = 24
LEAST_OVERLAP = 0.5
# log J is clipped where J is not positive; such voxels are folds, not extreme shrinkage.
SMALLEST_LOG = math.log(1e-8)


class PairArtist:
    """Draws the pictures of one pair on slices through the middle of its mask."""

    def __init__(
        self, files: PairFiles, names: Mapping[int, str], colors: Mapping[int, str]
    ) -> None:
        self.files = files
        self.names = names
        self.slicer = files.slicer
        self._views = files.slicer.views
        self.colors = {str(label): color for label, color in colors.items()}
        self.position, self.through_labels = self._choose_position()
        self.shift, self.header_overlap = self._moving_shift()
        self.width = pictures.WIDTH_INCHES if len(self._views) > 1 else 5.5
        self.windows = {
            "fixed": self._window(files.fixed), "moving": self._window(files.moving)
        }  # fmt: skip

    def draw_all(self) -> list[Picture]:
        """Return every picture that the files allow, in the order of the page."""
        drawn = [
            self.fixed(),
            self.moving(),
            self.warped(),
            self.outlines(),
            self.overlay_before(),
            self.overlay_after(),
            self.grid(),
            self.log_jacobian(),
            self.similarity("gss", "Semantic similarity (GSS)", "features of matched voxels"),
            self.similarity("gvs", "Visual similarity (GVS)", "intensities around matched voxels"),
        ]
        return [picture for picture in drawn if picture is not None]

    def position_words(self) -> str:
        """Say where the slices lie."""
        if self.files.grid.ndim == 2:
            return "Both images are shown on the pixel grid of the fixed one."
        where = "the labels" if self.through_labels else "the region where both scans overlap"
        words = f"Slices go through the middle of {where}, on the grid of the fixed scan."
        if self.files.grid.is_oblique:
            words += " The scan is oblique: letters name the nearest direction."
        return words

    def fixed(self) -> Picture | None:
        """Draw the fixed scan."""
        if self.files.fixed is None:
            return None
        return self._gray(
            "Fixed scan", "The scan that everything is brought to.", self._fixed_slice, "fixed"
        )

    def moving(self) -> Picture | None:
        """Draw the moving scan where its header, or its centre, puts it."""
        if self.files.moving is None:
            return None
        return self._gray(
            "Moving scan before", self._placement_words(), self._moving_slice, "moving"
        )

    def warped(self) -> Picture | None:
        """Draw the warped moving scan."""
        if self.files.array("warped") is None:
            return None
        return self._gray(
            "Moving scan after (warped)",
            "The moving scan sampled at the counterpart of every voxel of the fixed scan.",
            self._warped_slice,
            "moving",
        )

    def outlines(self) -> Picture | None:
        """Draw outlines of the warped labels, and of known labels, on the fixed scan."""
        labels, known = self.files.labels, self.files.fixed_labels
        if labels is None:
            return None
        colors = {
            int(v): pictures.label_color(int(v), self.colors) for v in np.unique(labels.data) if v
        }
        shown: set[int] = set()

        def draw(axes: Any, view: View) -> None:
            if self.files.fixed is not None:
                pictures.gray(
                    axes, self.slicer, view, self._fixed_slice(view), self.windows["fixed"]
                )
            if known is not None:
                cut = self.slicer.cut(known.data, view, self.position)
                white = dict.fromkeys((int(v) for v in np.unique(cut)), "#ffffff")
                pictures.contours(axes, self.slicer, view, cut, white, dashed=True, width=1.0)
            cut = self.slicer.cut(labels.data, view, self.position)
            shown.update(int(v) for v in np.unique(cut) if v)
            pictures.contours(axes, self.slicer, view, cut, colors)

        source = self._row(draw)
        key = [KeyEntry(self._name(v), colors[v], line=True) for v in sorted(shown)]
        caption = "Outlines of the moving scan's labels after warping, on the fixed scan."
        if known is not None:
            key.append(
                KeyEntry("known labels of the fixed scan", "#a9b3bf", line=True, dashed=True)
            )
            caption += " Dashed white: the known labels."
        return Picture("Warped labels on the fixed scan", caption, source, key)

    def overlay_before(self) -> Picture | None:
        """Add the fixed scan and the moving scan before matching."""
        if self.files.fixed is None or self.files.moving is None:
            return None
        return self._overlay("Overlay before", self._moving_slice)

    def overlay_after(self) -> Picture | None:
        """Add the fixed scan and the warped one."""
        if self.files.fixed is None or self.files.array("warped") is None:
            return None
        return self._overlay("Overlay after", self._warped_slice)

    def grid(self) -> Picture | None:
        """Draw the fixed grid where the field puts its vertices, over the moving scan."""
        if self.files.displacement is None:
            return None
        world = {view.name: self.slicer.world_points(view, self.position) for view in self._views}
        mapped = {name: map_points(self.files.displacement, at) for name, at in world.items()}
        moves = [(mapped[name] - world[name]).reshape(-1, self.files.grid.ndim) for name in world]
        mean = np.concatenate(moves).mean(axis=0)
        points = {v.name: self.slicer.picture_points(v, mapped[v.name] - mean) for v in self._views}
        margins = {view.name: self._margin(view, points[view.name]) for view in self._views}
        limits = {v.name: self.slicer.extent(v, margins[v.name]) for v in self._views}
        step = max(1, math.ceil(max(self.slicer.shape) / GRID_LINES))

        def draw(axes: Any, view: View) -> None:
            margin = margins[view.name]
            if self.files.moving is not None:
                low, high = self.windows["moving"]
                around = self.slicer.world_points(view, self.position, margin) + mean
                picture = sample(self.files.moving, around)
                window = (low, high + (high - low))
                pictures.gray(axes, self.slicer, view, picture, window, margin)
            pictures.mesh(axes, points[view.name], step, self._folds_slice(view, 2))

        lines = "every line" if step == 1 else f"one line for every {step} voxels"
        unit = "mm" if self.files.grid.spacing_known else "pixels"
        caption = (
            f"The fixed scan's voxel grid ({lines}), each vertex drawn in the moving scan where "
            f"the field puts it{self._projected()}. The mean shift of "
            f"{float(np.linalg.norm(mean)):.1f} {unit} is taken out. Lines that cross and green "
            "dots are folds."
        )
        source = self._row(draw, limits=limits)
        return Picture("Deformation grid on the moving scan", caption, source)

    def log_jacobian(self) -> Picture | None:
        """Draw the log-Jacobian, centred on 0, with folds marked."""
        array = self.files.array("log_jacobian")
        if array is None:
            return None
        values = np.where(self.files.mask & (array > SMALLEST_LOG), array, np.nan)
        finite = np.abs(values[np.isfinite(values)])
        limit = max(float(np.percentile(finite, 99.5)), 0.1) if finite.size else 1.0

        def draw(axes: Any, view: View) -> Any:
            cut = self.slicer.cut(values, view, self.position)
            drawn = pictures.colored(axes, self.slicer, view, cut, "RdBu_r", (-limit, limit))
            folds = self.files.array("folds")
            if folds is not None:
                marks = self.slicer.cut(folds, view, self.position)
                pictures.marked(axes, self.slicer, view, marks, pictures.FOLD_COLORS)
            return drawn

        key = [
            KeyEntry(f"{name}: {self._fold_count(value)}", pictures.FOLD_COLORS[value])
            for value, name in (
                (2, "folds by central differences"),
                (1, "folds by the digital criterion only"),
            )
        ]
        caption = (
            "Natural logarithm of the local volume ratio: red where the moving scan's tissue is "
            "larger, blue where it is smaller, white where volume is kept. "
            f"The colours end at ±{limit:.2f}, a factor of {math.exp(limit):.2f}."
        )
        source = self._row(draw, colorbar=True)
        return Picture("Local volume change (log-Jacobian)", caption, source, key)

    def similarity(self, stem: str, title: str, what: str) -> Picture | None:
        """Draw a similarity map."""
        array = self.files.array(stem)
        if array is None:
            return None
        values = np.where(self.files.mask, array, np.nan)
        finite = values[np.isfinite(values)]
        low = float(np.percentile(finite, 1)) if finite.size else 0.0
        limits = (min(low, 0.95), 1.0)

        def draw(axes: Any, view: View) -> Any:
            cut = self.slicer.cut(values, view, self.position)
            return pictures.colored(axes, self.slicer, view, cut, "viridis", limits)

        caption = f"Similarity of the {what}; dark places match badly. 1 is a perfect match."
        return Picture(title, caption, self._row(draw, colorbar=True))

    # -- parts --------------------------------------------------------------------------------

    def _row(self, draw: pictures.Draw, **options: Any) -> str:
        return pictures.slice_row(self.slicer, draw, width=self.width, **options)

    def _gray(self, title: str, caption: str, cut: Any, window: str) -> Picture:
        def draw(axes: Any, view: View) -> None:
            pictures.gray(axes, self.slicer, view, cut(view), self.windows[window])

        return Picture(title, caption, self._row(draw))

    def _overlay(self, title: str, cut: Any) -> Picture:
        def draw(axes: Any, view: View) -> None:
            fixed = self._fixed_slice(view), self.windows["fixed"]
            pictures.additive(axes, self.slicer, view, fixed, (cut(view), self.windows["moving"]))

        key = [KeyEntry("fixed", pictures.FIXED_COLOR), KeyEntry("moving", pictures.MOVING_COLOR)]
        caption = (
            "Both scans added in two colours: grey where they agree, coloured where only one is "
            "bright."
        )
        return Picture(title, caption, self._row(draw), key)

    def _fixed_slice(self, view: View) -> NDArray[Any]:
        assert self.files.fixed is not None
        return self.slicer.cut(self.files.fixed.data, view, self.position).astype(np.float32)

    def _moving_slice(self, view: View) -> NDArray[Any]:
        assert self.files.moving is not None
        return sample(self.files.moving, self.slicer.world_points(view, self.position) + self.shift)

    def _warped_slice(self, view: View) -> NDArray[Any]:
        warped = self.files.array("warped")
        assert warped is not None
        return self.slicer.cut(warped, view, self.position).astype(np.float32)

    def _folds_slice(self, view: View, value: int) -> NDArray[Any] | None:
        folds = self.files.array("folds")
        return None if folds is None else self.slicer.cut(folds, view, self.position) == value

    def _fold_count(self, value: int) -> str:
        folds = self.files.array("folds")
        if folds is None:
            return "not known"
        total = int((folds == value).sum())
        if not total or self.files.grid.ndim == 2:
            return str(total)
        seen = sum(
            int((self.slicer.cut(folds, v, self.position) == value).sum()) for v in self._views
        )
        return f"{total} voxels, {seen} on these slices"

    def _margin(self, view: View, points: NDArray[np.float64]) -> tuple[int, int]:
        """Return how many pixels more show the whole grid, at most half a slice on each side."""
        left, right, bottom, top = self.slicer.extent(view)
        low, high = points.reshape(-1, 2).min(axis=0), points.reshape(-1, 2).max(axis=0)
        beyond = max(left - low[0], high[0] - right), max(top - low[1], high[1] - bottom)
        margins = []
        for axis, excess in zip((view.across, view.down), beyond, strict=True):
            pixels = math.ceil(max(0.0, excess) / self.slicer.spacing[axis])
            margins.append(min(pixels, self.slicer.shape[axis] // 2))
        return margins[0], margins[1]

    def _choose_position(self) -> tuple[tuple[int, ...], bool]:
        """Return the middle of the mask, or of the labels where those would be missed."""
        middle = self.slicer.middle(self.files.mask)
        labels = self.files.labels
        if labels is None or self.files.grid.ndim == 2 or not labels.data.any():
            return middle, False
        hits = [self.slicer.cut(labels.data, view, middle).any() for view in self._views]
        return (middle, False) if all(hits) else (self.slicer.middle(labels.data != 0), True)

    def _moving_shift(self) -> tuple[NDArray[np.float64], float]:
        """Return what to add to fixed points so that the moving scan is seen, and the overlap.

        Headers of unrelated scans may put them far apart; then the centres are laid on each other.
        """
        nothing = np.zeros(self.files.grid.ndim)
        moving = self.files.moving
        if moving is None:
            return nothing, 1.0
        points = [self.slicer.world_points(view, self.position) for view in self._views]
        inside = np.concatenate([np.isfinite(sample(moving, p)).ravel() for p in points])
        overlap = float(inside.mean())
        if overlap >= LEAST_OVERLAP:
            return nothing, overlap
        centres = [
            volume.voxel_to_world((np.array(volume.shape) - 1) / 2)
            for volume in (moving, self.files.grid)
        ]
        return centres[0] - centres[1], overlap

    def _placement_words(self) -> str:
        if self.files.grid.ndim == 2 and not self.shift.any():
            return "On the pixel grid of the fixed image, before matching."
        if not self.shift.any():
            return "Where its header puts it, on the slices of the fixed scan."
        return (
            f"The headers put only {100 * self.header_overlap:.0f} % of these slices inside it, so "
            "it is shown with its centre on that of the fixed scan."
        )

    def _projected(self) -> str:
        return " (projected onto the slice)" if self.files.grid.ndim == 3 else ""

    def _window(self, volume: Any) -> tuple[float, float]:
        return (
            (0.0, 1.0)
            if volume is None
            else pictures.window_of(np.asarray(volume.data, np.float32))
        )

    def _name(self, label: int) -> str:
        return f"{label} {self.names[label]}" if label in self.names else f"label {label}"
