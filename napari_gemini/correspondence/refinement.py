"""Instance refinement: the map of one pair, optimised under the losses of the method.

From an affine stage, or from the field that a network predicts, a velocity field is optimised from
coarse to fine under local correlation (GVS), feature similarity (GSS, where features are given) and
smoothness. What comes back is checked by the digital criterion and smoothed where it folds.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from napari_gemini.correspondence.affine import AffineMap, fit_affine, optimise_affine
from napari_gemini.correspondence.fold_repair import remove_folds
from napari_gemini.correspondence.inverse import invert_displacement
from napari_gemini.correspondence.refinement_level import (
    NODE_SMOOTHING,
    NODE_SPACING,
    Images,
    Level,
    directions,
)
from napari_gemini.correspondence.resampling import (
    enlarge_displacement,
    gaussian_smooth,
    pad_to_multiple,
    shrink,
    shrink_displacement,
)
from napari_gemini.correspondence.warp import compose, field_of_view_mask, identity_grid, sample
from napari_gemini.errors import InputError
from napari_gemini.progress import Reporter, SilentReporter, stop_if_cancelled
from napari_gemini.settings import RefineSettings

#: Grids with more voxels are optimised at half resolution at the finest.
FULL_RESOLUTION_VOXELS = {2: 4_000_000, 3: 1_500_000}
#: A level needs this many voxels along its shortest axis.
SHORTEST_AXIS = 8


@dataclass(frozen=True)
class Refinement:
    """The refined map of a pair.

    Attributes
    ----------
    displacement
        ``(1, d, *S)`` in voxels: from a fixed voxel to its counterpart in the moving image.
    inverse
        ``(1, d, *S)``: from a moving voxel to its counterpart in the fixed image.
    fold_percent_digital
        Of the worse direction, over all voxels but the outermost ring, on this grid.
    repairs
        Rounds of smoothing that were needed to remove folds.
    history
        Values of the loss and its terms after every step.
    """

    displacement: Tensor
    inverse: Tensor
    fold_percent_digital: float
    repairs: int
    history: list[dict[str, float]] = field(default_factory=list)


def level_strides(shape: tuple[int, ...], settings: RefineSettings) -> tuple[int, ...]:
    """Return the resolutions from coarse to fine, as voxels of the grid per voxel of the level."""
    voxels = 1
    for size in shape:
        voxels *= size
    finest = 2 if voxels > FULL_RESOLUTION_VOXELS[len(shape)] else 1
    strides = [finest * 2**k for k in range(settings.levels)]
    fitting = [s for s in strides if min(shape) // s >= SHORTEST_AXIS]
    return tuple(reversed(fitting)) or (1,)


def steps_per_level(steps: int, levels: int) -> tuple[int, ...]:
    """Share the steps among the levels: equal parts, with three quarters of one for the finest."""
    if levels == 1:
        return (steps,)
    finest = round(0.75 * steps / (levels - 0.25))
    rest, extra = divmod(steps - finest, levels - 1)
    return (*(rest + (k < extra) for k in range(levels - 1)), finest)


def refine_pair(
    moving: Tensor,
    fixed: Tensor,
    initial: Tensor | None = None,
    features: tuple[Tensor, Tensor] | None = None,
    settings: RefineSettings | None = None,
    ignore_mask: Tensor | None = None,
    ignore_moving: Tensor | None = None,
    reporter: Reporter | None = None,
) -> Refinement:
    """Refine the map of one pair in both directions.

    Parameters
    ----------
    moving, fixed
        ``(1, 1, *S)`` images on one grid, in [0, 1].
    initial
        ``(1, d, *S)`` displacement in voxels to start from; without it, an affine stage is run
        first. It is brought into the form that is optimised (affine map and smooth velocity), so
        folds and the finest detail of it do not survive.
    features
        ``(1, F, *S)`` each of the moving and the fixed image, for the semantic similarity.
    settings
        Steps, levels, weights and so on.
    ignore_mask, ignore_moving
        ``(1, 1, *S)``, non-zero where the fixed and the moving image must not count.
    reporter
        Hears of every step and may cancel.

    Returns
    -------
    Refinement
        Both directions and what became of folds.

    Raises
    ------
    InputError
        If shapes do not fit.
    Cancelled
        If the reporter asked to stop.

    Notes
    -----
    With ``velocity_steps`` at 0 plain displacements are optimised, one per direction (or one and
    its fixed-point inverse without ``symmetric``).
    """
    settings = RefineSettings() if settings is None else settings
    reporter = SilentReporter() if reporter is None else reporter
    _check(moving, fixed, initial, features)
    # Inference tensors cannot take part in a graph, so everything is copied outside that mode.
    with torch.inference_mode(False), torch.enable_grad():
        shape = tuple(fixed.shape[2:])
        strides = level_strides(shape, settings)
        multiple, spacing = strides[0] * NODE_SPACING, strides[-1] * NODE_SPACING
        images = _prepare(moving, fixed, features, ignore_mask, ignore_moving, multiple, spacing)
        history: list[dict[str, float]] = []
        if initial is None:
            affine = optimise_affine(
                images.moving,
                images.fixed,
                steps=settings.affine_steps if settings.steps else 0,
                similarity=settings.similarity,
                ignore_moving=images.ignore_moving,
                ignore_fixed=images.ignore_fixed,
                reporter=reporter,
            )
            fields = 2 if settings.symmetric and settings.velocity_steps == 0 else 1
            nodes = (size // spacing for size in images.fixed.shape[2:])
            parameter = images.fixed.new_zeros(fields, len(shape), *nodes)
        else:
            with torch.no_grad():
                start = pad_to_multiple(initial.detach().float().clone(), multiple)
                affine = fit_affine(start, field_of_view_mask(start))
                parameter = _fit_parameter(start, affine, spacing, settings)
        parameter = _descend(images, affine, parameter, strides, settings, reporter, history)
        with torch.no_grad():
            result = remove_folds(
                parameter,
                lambda candidate: _both_maps(candidate, affine, spacing, settings),
                settings.max_fold_percent,
                reporter,
            )
        maps = [_crop(displacement, shape) for displacement in (result.there, result.back)]
        return Refinement(maps[0], maps[1], result.fold_percent, result.rounds, history)


def refine(
    moving: Tensor,
    fixed: Tensor,
    initial: Tensor | None = None,
    features: tuple[Tensor, Tensor] | None = None,
    settings: RefineSettings | None = None,
    ignore_mask: Tensor | None = None,
    reporter: Reporter | None = None,
) -> Tensor:
    """Refine the displacement of one pair; see :func:`refine_pair`.

    Returns
    -------
    Tensor
        ``(1, d, *S)`` in voxels, moving onto fixed.
    """
    return refine_pair(
        moving, fixed, initial, features, settings, ignore_mask, reporter=reporter
    ).displacement


def _check(
    moving: Tensor,
    fixed: Tensor,
    initial: Tensor | None,
    features: tuple[Tensor, Tensor] | None,
) -> None:
    if moving.shape != fixed.shape or fixed.ndim not in (4, 5) or fixed.shape[:2] != (1, 1):
        raise InputError(
            "Refinement takes one pair of images of one shape (1, 1, *spatial); "
            f"these have {tuple(moving.shape)} and {tuple(fixed.shape)}."
        )
    spatial = tuple(fixed.shape[2:])
    if initial is not None and tuple(initial.shape) != (1, len(spatial), *spatial):
        raise InputError(
            f"A starting displacement of shape {tuple(initial.shape)} does not fit images of "
            f"shape {spatial}."
        )
    if features is not None and any(tuple(f.shape[2:]) != spatial for f in features):
        raise InputError("The features of a pair need the spatial shape of its images.")


def _crop(displacement: Tensor, shape: tuple[int, ...]) -> Tensor:
    for axis, size in enumerate(shape, start=2):
        displacement = displacement.narrow(axis, 0, size)
    return displacement.contiguous()


def _prepare(
    moving: Tensor,
    fixed: Tensor,
    features: tuple[Tensor, Tensor] | None,
    ignore_fixed: Tensor | None,
    ignore_moving: Tensor | None,
    multiple: int,
    spacing: int,
) -> Images:
    """Copy and pad everything to a multiple; what the padding added is ignored."""

    def padded(tensor: Tensor | None) -> Tensor | None:
        if tensor is None:
            return None
        return pad_to_multiple(tensor.detach().float().clone(), multiple)

    masks = [ignore_moving, ignore_fixed]
    if any(size % multiple for size in fixed.shape[2:]):
        masks = [torch.zeros_like(fixed) if mask is None else mask for mask in masks]
    ignored = []
    for mask in masks:
        extended = None if mask is None else padded((mask != 0).float())
        if extended is not None and extended.shape != fixed.shape:
            for axis, size in enumerate(fixed.shape[2:], start=2):
                extended.narrow(axis, size, extended.shape[axis] - size).fill_(1)
        ignored.append(extended)
    at_nodes: list[Tensor | None] = [None, None]
    if features is not None:
        at_nodes = [
            shrink(pad_to_multiple(f.detach().float(), multiple), spacing) for f in features
        ]
    first, second = padded(moving), padded(fixed)
    assert first is not None
    assert second is not None
    return Images(first, second, at_nodes[0], at_nodes[1], ignored[0], ignored[1])


def _descend(
    images: Images,
    affine: AffineMap,
    parameter: Tensor,
    strides: tuple[int, ...],
    settings: RefineSettings,
    reporter: Reporter,
    history: list[dict[str, float]],
) -> Tensor:
    """Optimise level after level; the parameter lives on the finest level's nodes throughout.

    A coarse level works on the parameter's average and hands back what it changed, so the detail
    of a field to start from survives coarse levels.
    """
    counts = steps_per_level(settings.steps, len(strides))
    done = 0
    for stride, count in zip(strides, counts, strict=True):
        if count == 0:
            continue

        def report(step: int, values: dict[str, float], done: int = done) -> None:
            stop_if_cancelled(reporter)
            history.append(values)
            reporter.progress(done + step, settings.steps, "Refining the pair", **values)

        factor = stride // strides[-1]
        start = shrink_displacement(parameter, factor)
        changed = Level(images, affine, stride, strides[-1], settings).optimise(
            start, count, report
        )
        if factor == 1:
            parameter = changed
        else:
            change = gaussian_smooth(changed - start, NODE_SMOOTHING)
            parameter = parameter + enlarge_displacement(change, factor)
        done += count
    return parameter


def _fit_parameter(
    displacement: Tensor,
    affine: AffineMap,
    spacing: int,
    settings: RefineSettings,
    iterations: int = 12,
) -> Tensor:
    """Find the parameter whose map comes closest to a displacement that is given.

    With ``phi`` the field that has to follow the affine map, ``exp(-v) o phi = exp(r)`` has a
    small ``r``, and ``v + r`` is a better velocity than ``v`` (first order of
    Baker-Campbell-Hausdorff). A plain displacement is found likewise, with differences.
    """
    grid = identity_grid(displacement.shape[2:], device=displacement.device)
    target = affine.inverse().apply(grid + displacement) - grid
    there = shrink_displacement(target, spacing)
    if settings.velocity_steps == 0:
        wanted = [there]
        if settings.symmetric:
            wanted.append(invert_displacement(there, iterations=20).displacement)
        fields = torch.cat(wanted)
        parameter = torch.zeros_like(fields)
        for _ in range(iterations):
            parameter = parameter + fields - directions(parameter, settings)
        return parameter
    velocity = torch.zeros_like(there)
    both_ways = settings.model_copy(update={"symmetric": True})
    for _ in range(iterations):
        back = directions(velocity, both_ways)[1:]
        velocity = velocity + compose(back, there)
    return velocity


def _both_maps(
    parameter: Tensor, affine: AffineMap, spacing: int, settings: RefineSettings
) -> tuple[Tensor, Tensor]:
    """Return the total displacements there and back on the finest grid."""
    if settings.velocity_steps:
        settings = settings.model_copy(update={"symmetric": True})
    fields = enlarge_displacement(directions(parameter, settings), spacing)
    grid = identity_grid(fields.shape[2:], device=fields.device)
    there = affine.apply(grid + fields[:1]) - grid
    if len(fields) == 2:
        inner = fields[1:]
    else:
        inner = invert_displacement(fields, iterations=30).displacement
    landed = affine.inverse().apply(grid)
    back = landed + sample(inner, landed, padding="border") - grid
    return there, back
