"""Whether two scans are in one contrast, and so how they are to be compared.

Where grey values of one anatomy go together, local correlation tells best where two scans fit.
Where they do not (CT and MR, T1 and T2) it leads astray, and self-similarity has to do. Which it is
can only be seen once the scans lie on each other, so they are matched roughly by self-similarity
first.
"""

from __future__ import annotations

import torch
from torch import Tensor

from napari_gemini.correspondence.affine import affine_stride
from napari_gemini.correspondence.refinement import refine_pair
from napari_gemini.correspondence.resampling import shrink_pair
from napari_gemini.correspondence.warp import comparison_mask, warp
from napari_gemini.progress import Reporter, SilentReporter, stop_if_cancelled
from napari_gemini.settings import RefineSettings, Similarity

#: Grey values in one contrast correlate at least as much as this, and ...
LEAST_CORRELATION = 0.5
#: ... a straight line says nearly all that any function could say of one image by the other.
LINEAR_SHARE = 0.75
#: So far apart on average are equally frequent grey values of one contrast at most, ...
SAME_HISTOGRAM = 0.05
#: ... unless they go against each other.
OPPOSED = -0.5
#: Ranges of grey values, equally full, for the correlation ratio.
RANGES = 16
#: Quantiles that stand for a histogram, and values that they are taken of, about.
QUANTILES = 50
MOST_VALUES = 100_000
#: Voxels that are darker, of 0 to 1, are background.
BACKGROUND = 0.1
#: Steps of the rough match.
STEPS = 30


class _Quiet(SilentReporter):
    """Passes on the wish to stop: the rough match is no part of the work that is counted."""

    def __init__(self, reporter: Reporter) -> None:
        self._reporter = reporter

    def cancelled(self) -> bool:
        """Whether the work should stop."""
        return self._reporter.cancelled()


def suiting_similarity(
    moving: Tensor,
    fixed: Tensor,
    ignore_moving: Tensor | None = None,
    ignore_fixed: Tensor | None = None,
    *,
    reporter: Reporter,
) -> Similarity:
    """Return how a pair is compared best: by correlation in one contrast, else by self-similarity.

    Parameters
    ----------
    moving, fixed, ignore_moving, ignore_fixed, reporter
        As for :func:`matched_values`.
    """
    values = matched_values(moving, fixed, ignore_moving, ignore_fixed, reporter=reporter)
    apart = histogram_distance(foreground(moving, ignore_moving), foreground(fixed, ignore_fixed))
    return "correlation" if in_one_contrast(values, apart) else "self-similarity"


def in_one_contrast(values: Tensor, apart: float) -> bool:
    """Whether two scans are in one contrast.

    Parameters
    ----------
    values
        ``(2, N)``: grey values of matched voxels.
    apart
        :func:`histogram_distance` of the scans.

    Notes
    -----
    In one contrast grey values rise together, on a line as far as can be told. Two contrasts may
    well correlate, dark tissue with dark tissue; but then a grey value of one says more of the
    other than a line does. Scans in one contrast may lie on each other too badly to correlate
    (hearts in chests that have little else in common); but then each grey value is about as
    frequent in the one as in the other.
    """
    if values.shape[1] < 2:
        return apart <= SAME_HISTOGRAM
    correlation = float(torch.corrcoef(values)[0, 1].nan_to_num())
    explained = min(correlation_ratio(*values), correlation_ratio(*values.flip(0)))
    if correlation >= LEAST_CORRELATION and correlation**2 >= LINEAR_SHARE * explained:
        return True
    return apart <= SAME_HISTOGRAM and correlation > OPPOSED


def foreground(image: Tensor, ignore: Tensor | None) -> Tensor:
    """Return the grey values (N,) of an image that are no background and count."""
    kept = image > BACKGROUND
    return image[kept if ignore is None else kept & (ignore == 0)]


def histogram_distance(first: Tensor, second: Tensor) -> float:
    """Return how far apart equally frequent grey values (N,), (M,) are on average.

    It is the Wasserstein distance of their histograms, from quantiles; 1 where one is empty.
    """
    if not (first.numel() and second.numel()):
        return 1.0
    at = (torch.arange(QUANTILES) + 0.5) / QUANTILES
    found = [
        values[:: 1 + values.numel() // MOST_VALUES].float().cpu().quantile(at)
        for values in (first, second)
    ]
    return float((found[0] - found[1]).abs().mean())


def correlation_ratio(values: Tensor, by: Tensor) -> float:
    """Return the share of the variance of `values` (N,) that a function of `by` (N,) can explain.

    It is estimated with a constant in each of :data:`RANGES` equally full ranges of `by` (Roche et
    al., "The correlation ratio as a new similarity measure", MICCAI 1998).
    """
    edges = by.sort().values[torch.arange(1, RANGES) * len(by) // RANGES]
    ranges = torch.bucketize(by, edges)
    count = torch.bincount(ranges, minlength=RANGES).clamp_min(1)
    means = torch.bincount(ranges, weights=values, minlength=RANGES) / count
    total = float((values - values.mean()).square().sum())
    left = float((values - means[ranges]).square().sum())
    return 1 - left / total if total > 0 else 0.0


def matched_values(
    moving: Tensor,
    fixed: Tensor,
    ignore_moving: Tensor | None = None,
    ignore_fixed: Tensor | None = None,
    *,
    reporter: Reporter,
) -> Tensor:
    """Return the grey values of a pair that is roughly matched by structure.

    Parameters
    ----------
    moving, fixed
        ``(1, 1, *S)`` on one grid.
    ignore_moving, ignore_fixed
        ``(1, 1, *S)``, non-zero where nothing counts.
    reporter
        May cancel.

    Returns
    -------
    Tensor
        ``(2, N)``, moving and fixed, of the voxels of a coarse grid that count.

    Raises
    ------
    Cancelled
        If the reporter asked to stop.
    """
    moving, fixed, ignore_moving, ignore_fixed = shrink_pair(
        moving, fixed, ignore_moving, ignore_fixed, affine_stride(tuple(fixed.shape[2:]))
    )
    displacement = refine_pair(
        moving,
        fixed,
        settings=RefineSettings(similarity="self-similarity", steps=STEPS, levels=1),
        ignore_moving=ignore_moving,
        ignore_mask=ignore_fixed,
        reporter=_Quiet(reporter),
    ).displacement
    stop_if_cancelled(reporter)
    counted = comparison_mask(displacement, ignore_moving, ignore_fixed) > 0
    warped = warp(moving, displacement)
    # Background is dark in any contrast, and there may be much of it.
    counted &= torch.maximum(warped, fixed) > BACKGROUND
    # On the CPU, since CUDA counts into bins in no fixed order.
    return torch.stack([warped[counted], fixed[counted]]).cpu()
