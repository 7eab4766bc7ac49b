"""The cohort in memory: every scan of a study on the study grid, ready for the device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from napari_gemini.errors import StudyError


@dataclass
class Cohort:
    """Scans and labels of one study as tensors on one grid and one device.

    Attributes
    ----------
    ids
        Case ids, in the order of `images`.
    images
        (N, 1, *S) float32 in [0, 1].
    labels
        Class index maps (*S) or overlapping masks (C, *S), int16, by position in `ids`.
    ignored
        Masks (*S), bool, of regions that no loss counts, by position in `ids`.
    groups
        Group name (view, sex, region) for each case, or None; pairs stay within a group.
    """

    ids: list[str]
    images: Tensor
    labels: dict[int, Tensor]
    ignored: dict[int, Tensor] = field(default_factory=dict)
    groups: list[str | None] = field(default_factory=list)

    @property
    def shape(self) -> tuple[int, ...]:
        """Grid shape."""
        return tuple(self.images.shape[2:])

    @property
    def labelled(self) -> list[int]:
        """Positions of the cases that have labels."""
        return sorted(self.labels)

    def to(self, device: torch.device) -> Cohort:
        """Return the cohort with all tensors on `device`."""
        return Cohort(
            self.ids,
            self.images.to(device),
            {i: t.to(device) for i, t in self.labels.items()},
            {i: t.to(device) for i, t in self.ignored.items()},
            self.groups,
        )

    def target(self, positions: Sequence[int]) -> Tensor:
        """Stack the labels of some cases: (B, *S) classes or (B, C, *S) masks, int16."""
        return torch.stack([self.labels[i] for i in positions])

    def ignore(self, positions: Sequence[int]) -> Tensor | None:
        """Return float masks (B, 1, *S), 1 where nothing may be counted, or None without any."""
        if not any(i in self.ignored for i in positions):
            return None
        empty = torch.zeros(self.shape, device=self.images.device)
        masks = [self.ignored[i].float() if i in self.ignored else empty for i in positions]
        return torch.stack(masks).unsqueeze(1)


def assemble(
    ids: Sequence[str],
    images: Sequence[np.ndarray],
    labels: dict[str, np.ndarray],
    ignored: dict[str, np.ndarray] | None = None,
    groups: dict[str, str | None] | None = None,
) -> Cohort:
    """Build a cohort from arrays on the study grid.

    Parameters
    ----------
    ids
        Case ids.
    images
        Arrays (*S) in [0, 1], one for each id.
    labels
        Class index maps or masks by id; :data:`.IGNORE_INDEX` marks voxels that count for nothing.
    ignored
        Boolean arrays by id: regions such as lesions that no similarity may count.
    groups
        Group of each id.

    Raises
    ------
    StudyError
        If there are fewer than two scans, or labels for none of them.
    """
    if len(ids) < 2:
        raise StudyError("Training needs at least two scans; add more images to the study.")
    position = {case: i for i, case in enumerate(ids)}
    stack = torch.from_numpy(np.stack([np.asarray(a, dtype=np.float32) for a in images]))
    return Cohort(
        list(ids),
        stack.unsqueeze(1),
        {
            position[c]: torch.from_numpy(np.ascontiguousarray(a, np.int16))
            for c, a in labels.items()
        },
        {
            position[c]: torch.from_numpy(np.ascontiguousarray(a, bool))
            for c, a in (ignored or {}).items()
        },
        [(groups or {}).get(c) for c in ids],
    )
