"""The landmark pairs of a pair of scans: named, changed, undone, measured; no window needed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from psygnal import Signal

from napari_gemini.errors import InputError
from napari_gemini.evaluation.landmarks import target_registration_error
from napari_gemini.study.landmarks import LandmarkPair, as_arrays, swapped
from napari_gemini.volumes.geometry import FloatArray
from napari_gemini.widgets.pair.pair_data import PairData

Side = Literal["fixed", "moving"]

_MOST_UNDO = 50
#: Points that are closer, in mm, are the same but for rounding.
_SAME = 2e-3


@dataclass(frozen=True)
class Probe:
    """What is known of one probed voxel.

    Attributes
    ----------
    side
        The scan that was clicked.
    point
        (d,) RAS mm there.
    partner
        (d,) RAS mm in the other scan by the deformation; NaN where it says nothing.
    best
        (d,) the most similar voxel of the other scan; None while it is not known.
    best_similarity, partner_similarity
        Cosines; None while they are not known.
    chosen
        (d,) where the user says the partner is.
    """

    side: Side
    point: FloatArray
    partner: FloatArray
    best: FloatArray | None = None
    best_similarity: float | None = None
    partner_similarity: float | None = None
    chosen: FloatArray | None = None

    @property
    def other(self) -> Side:
        """The scan that was not clicked."""
        return "moving" if self.side == "fixed" else "fixed"

    def as_landmark(self, name: str, partner: FloatArray) -> LandmarkPair:
        """Return a landmark of the point and one of its partners."""
        here, there = _plain(self.point), _plain(partner)
        return LandmarkPair(name, *((here, there) if self.side == "fixed" else (there, here)))


def _plain(point: FloatArray) -> tuple[float, ...]:
    return tuple(float(x) for x in point)


class LandmarkList:
    """Landmark pairs, first positions in the fixed scan and second ones in the moving scan."""

    changed = Signal()

    def __init__(self) -> None:
        self._pairs: list[LandmarkPair] = []
        self._before: list[list[LandmarkPair]] = []

    def __len__(self) -> int:
        return len(self._pairs)

    @property
    def pairs(self) -> list[LandmarkPair]:
        """The landmarks; a copy."""
        return list(self._pairs)

    @property
    def can_undo(self) -> bool:
        """Whether :meth:`undo` would do something."""
        return bool(self._before)

    def set_pairs(self, pairs: Sequence[LandmarkPair]) -> None:
        """Take other landmarks as they are, such as those of another pair; nothing to undo."""
        self._pairs, self._before = list(pairs), []
        self.changed.emit()

    def swap(self) -> None:
        """Exchange the two scans."""
        self._pairs = swapped(self._pairs)
        self._before = [swapped(pairs) for pairs in self._before]
        self.changed.emit()

    def free_name(self) -> str:
        """Return the first of ``L1``, ``L2`` ... that is not taken."""
        taken = {pair.name for pair in self._pairs}
        number = 1
        while f"L{number}" in taken:
            number += 1
        return f"L{number}"

    def add(self, pairs: Sequence[LandmarkPair]) -> None:
        """Add landmarks; one of a name that is known replaces it.

        Raises
        ------
        InputError
            If a coordinate is no finite number.
        """
        for pair in pairs:
            if not np.isfinite([*pair.a, *pair.b]).all():
                raise InputError(
                    "The deformation has no partner for this point; set it with Shift and a click "
                    "in the other scan."
                )
        new = {pair.name: pair for pair in pairs}
        kept = [new.pop(pair.name, pair) for pair in self._pairs]
        self._change([*kept, *new.values()])

    def rename(self, index: int, name: str) -> None:
        """Name a landmark.

        Raises
        ------
        InputError
            If the name is empty or taken.
        """
        name = name.strip()
        others = {pair.name for k, pair in enumerate(self._pairs) if k != index}
        if not name or name in others:
            raise InputError(
                f"Landmarks need names of their own; {name or 'nothing'!r} will not do."
            )
        if name != self._pairs[index].name:
            self._replace(index, replace(self._pairs[index], name=name))

    def move(self, index: int, side: Side, point: FloatArray) -> None:
        """Put one end of a landmark elsewhere, RAS mm."""
        if side == "fixed":
            self._replace(index, replace(self._pairs[index], a=_plain(point)))
        else:
            self._replace(index, replace(self._pairs[index], b=_plain(point)))

    def remove(self, indices: Sequence[int]) -> None:
        """Remove some landmarks."""
        gone = set(indices)
        if gone:
            self._change([pair for k, pair in enumerate(self._pairs) if k not in gone])

    def undo(self) -> None:
        """Take the last change back."""
        if self._before:
            self._pairs = self._before.pop()
            self.changed.emit()

    def _replace(self, index: int, pair: LandmarkPair) -> None:
        pairs = self.pairs
        pairs[index] = pair
        self._change(pairs)

    def _change(self, pairs: list[LandmarkPair]) -> None:
        self._before = [*self._before, self._pairs][-_MOST_UNDO:]
        self._pairs = pairs
        self.changed.emit()


def landmark_errors(pair: PairData, landmarks: Sequence[LandmarkPair]) -> FloatArray:
    """Return how far the deformation misses each landmark, (n,) in mm of the moving scan.

    NaN where a landmark has another dimension or is not on the field.
    """
    errors = np.full(len(landmarks), np.nan)
    fitting = [k for k, landmark in enumerate(landmarks) if len(landmark.a) == pair.ndim]
    if fitting:
        fixed, moving = as_arrays([landmarks[k] for k in fitting])
        errors[fitting] = np.linalg.norm(pair.map_fixed_to_moving(fixed) - moving, axis=1)
    return errors


def registration_error(
    pair: PairData, landmarks: Sequence[LandmarkPair]
) -> dict[str, float] | None:
    """Return the target registration error of the current deformation, and of placing alone.

    Landmarks whose one end is where the deformation sends the other were set by it. They would
    make the error smaller and say nothing about it, so they are left out.

    Returns
    -------
    dict or None
        What :func:`target_registration_error` says, ``initial_mean`` before the deformation, and
        ``left_out``, how many do not count. With ``count`` 0 there are no errors. None without
        landmarks.
    """
    if not landmarks:
        return None
    fixed, moving = as_arrays(list(landmarks))
    mapped = pair.map_fixed_to_moving(fixed)
    circular = np.linalg.norm(mapped - moving, axis=1) < _SAME
    if pair.back is not None:
        back = pair.map_moving_to_fixed(moving)
        circular |= np.linalg.norm(back - fixed, axis=1) < _SAME
    kept, left_out = ~circular, int(circular.sum())
    if not kept.any():
        return {"count": 0, "left_out": left_out}
    found = target_registration_error(mapped[kept], moving[kept])
    d = pair.ndim
    placed = fixed[kept] @ pair.initial[:d, :d].T + pair.initial[:d, 3]
    initial = target_registration_error(placed, moving[kept])["mean"]
    return {**found, "initial_mean": initial, "left_out": left_out}
