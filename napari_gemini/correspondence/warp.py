"""Pull-back warping, composition of displacements and the field-of-view mask."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as functional
from torch import Tensor

from napari_gemini.errors import InputError

Mode = Literal["bilinear", "nearest"]
Padding = Literal["zeros", "border"]


def identity_grid(
    shape: Sequence[int],
    *,
    device: torch.device | str | None = None,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Return the voxel coordinates of a grid.

    Parameters
    ----------
    shape
        Spatial shape, two or three axes.
    device, dtype
        Of the result.

    Returns
    -------
    Tensor
        ``(1, d, *shape)``; channel ``k`` holds the index along array axis ``k``.
    """
    axes = [torch.arange(size, device=device, dtype=dtype) for size in shape]
    return torch.stack(torch.meshgrid(*axes, indexing="ij")).unsqueeze(0)


def working_dtype(*tensors: Tensor) -> torch.dtype:
    """Return the precision coordinates and similarities are computed in: at least float32.

    A bfloat16 coordinate resolves whole voxels only up to 256, so half types are never kept.
    """
    dtype = torch.float32
    for tensor in tensors:
        if tensor.is_floating_point():
            dtype = torch.promote_types(dtype, tensor.dtype)
    return dtype


def _check_field(displacement: Tensor) -> int:
    dimension = displacement.ndim - 2
    if dimension not in (2, 3) or displacement.shape[1] != dimension:
        raise InputError(
            "A displacement has the shape (batch, axes, *spatial) with two or three axes; "
            f"this one has {tuple(displacement.shape)}."
        )
    return dimension


def _normalised(coordinates: Tensor, source_shape: Sequence[int]) -> Tensor:
    """Turn voxel coordinates (B, d, *S) into grid_sample's (B, *S, d), axes reversed."""
    scale = coordinates.new_tensor([2.0 / max(size - 1, 1) for size in source_shape])
    scaled = coordinates.movedim(1, -1) * scale - 1.0
    return scaled.flip(-1)


def sample(
    source: Tensor, coordinates: Tensor, mode: Mode = "bilinear", padding: Padding = "zeros"
) -> Tensor:
    """Sample an image at voxel coordinates.

    Parameters
    ----------
    source
        ``(B, C, *source_shape)``; labels (integer types) need ``mode="nearest"``.
    coordinates
        ``(B, d, *out_shape)``, voxels of the source; a batch of one serves the whole batch of
        the source and the other way round.
    mode
        ``bilinear`` (trilinear in 3D) or ``nearest`` (ties go up, as in ITK).
    padding
        What lies outside: zeros, or the value at the border.

    Returns
    -------
    Tensor
        ``(B, C, *out_shape)``; floating sources in at least float32, labels in their own type.

    Raises
    ------
    InputError
        If labels would be interpolated or the shapes do not fit.
    """
    if not source.is_floating_point() and mode != "nearest":
        raise InputError("Labels cannot be interpolated linearly; warp them with mode='nearest'.")
    dimension = _check_field(coordinates)
    if source.ndim != dimension + 2:
        raise InputError(
            f"An image of shape {tuple(source.shape)} cannot be sampled at coordinates of "
            f"shape {tuple(coordinates.shape)}; both need the same number of spatial axes."
        )
    exact = not source.is_floating_point()
    dtype = working_dtype(source, coordinates)
    if exact and source.element_size() > 2:
        dtype = torch.float64  # float32 holds integers only up to 2 ** 24
    with torch.autocast(source.device.type, enabled=False):
        image = source.to(dtype)
        points = coordinates.to(dtype)
        if mode == "nearest":
            points = torch.floor(points + 0.5)
        batch = max(image.shape[0], points.shape[0])
        grid = _normalised(points, source.shape[2:])
        if image.shape[0] != batch:
            image = image.expand(batch, *image.shape[1:])
        if grid.shape[0] != batch:
            grid = grid.expand(batch, *grid.shape[1:])
        sampled = functional.grid_sample(
            image, grid, mode=mode, padding_mode=padding, align_corners=True
        )
    return sampled.to(source.dtype) if exact else sampled


def warp(
    source: Tensor, displacement: Tensor, mode: Mode = "bilinear", padding: Padding = "zeros"
) -> Tensor:
    """Warp an image by a displacement: ``warped(p) = source(p + u(p))``.

    Parameters
    ----------
    source
        ``(B, C, *S)`` moving image, feature map or labels.
    displacement
        ``(B, d, *S)`` in voxels.
    mode
        ``bilinear`` (trilinear in 3D) or ``nearest``.
    padding
        Outside the source: zeros (training) or the border value.

    Returns
    -------
    Tensor
        ``(B, C, *S)``, see :func:`sample`.

    Notes
    -----
    ``align_corners=True`` with coordinates over ``S - 1``, so that a zero displacement is the
    identity. The operator W of the paper's Eq. 4-8.
    """
    _check_field(displacement)
    dtype = working_dtype(displacement)
    grid = identity_grid(displacement.shape[2:], device=displacement.device, dtype=dtype)
    return sample(source, grid + displacement.to(dtype), mode, padding)


def compose(outer: Tensor, inner: Tensor) -> Tensor:
    """Compose two displacements: the map ``p -> q + outer(q)`` with ``q = p + inner(p)``.

    Parameters
    ----------
    outer, inner
        ``(B, d, *S)`` in voxels; outside its grid `outer` goes on with its border value.

    Returns
    -------
    Tensor
        ``(B, d, *S)`` such that warping by it equals warping by `outer` and then by `inner`.
    """
    return inner + warp(outer, inner, padding="border")


def field_of_view_mask(displacement: Tensor, source_shape: Sequence[int] | None = None) -> Tensor:
    """Mark the voxels whose counterpart lies inside the moving image.

    Parameters
    ----------
    displacement
        ``(B, d, *S)`` in voxels.
    source_shape
        Spatial shape of the moving image; that of the field by default.

    Returns
    -------
    Tensor
        ``(B, 1, *S)``, 1 inside and 0 outside, without gradient.

    Notes
    -----
    The adaptive mask of the paper's Eq. 5-7, computed from ``p + u(p)`` instead of warping a
    volume of ones.
    """
    dimension = _check_field(displacement)
    shape = tuple(source_shape) if source_shape is not None else tuple(displacement.shape[2:])
    with torch.no_grad():
        field = displacement.detach().to(working_dtype(displacement))
        inside = torch.ones_like(field[:, 0], dtype=torch.bool)
        for axis in range(dimension):
            size = field.shape[2 + axis]
            index = torch.arange(size, device=field.device, dtype=field.dtype)
            index = index.reshape([-1 if k == axis else 1 for k in range(dimension)])
            position = field[:, axis] + index
            inside &= (position >= 0) & (position <= shape[axis] - 1)
        return inside.unsqueeze(1).to(field.dtype)


@torch.no_grad()
def touches(mask: Tensor, coordinates: Tensor) -> Tensor:
    """Mark coordinates whose interpolated value, or its slope, a marked voxel takes part in.

    Parameters
    ----------
    mask
        ``(B, 1, *source_shape)``, non-zero where marked.
    coordinates
        ``(B, d, *S)`` in voxels of the mask.

    Returns
    -------
    Tensor
        ``(B, 1, *S)`` bool. At a voxel's very centre the value needs no neighbour but the slope
        does, so the neighbours of the nearest voxel count throughout.
    """
    pool = functional.max_pool2d if mask.ndim == 4 else functional.max_pool3d
    wider = pool((mask != 0).to(working_dtype(coordinates)), 3, stride=1, padding=1)
    return sample(wider, coordinates.detach(), mode="nearest") > 0.5


def comparison_mask(
    displacement: Tensor,
    ignore_moving: Tensor | None = None,
    ignore_fixed: Tensor | None = None,
) -> Tensor:
    """Mark the voxels that a similarity may count.

    Parameters
    ----------
    displacement
        ``(B, d, *S)`` in voxels.
    ignore_moving, ignore_fixed
        ``(B or 1, 1, *S)``, non-zero where an image holds something without counterpart (a
        lesion, an implant); the moving one is warped along.

    Returns
    -------
    Tensor
        ``(B, 1, *S)``: 1 where the counterpart is in the field of view and neither side is
        ignored, else 0; without gradient.
    """
    mask = field_of_view_mask(displacement)
    with torch.no_grad():
        if ignore_moving is not None:
            grid = identity_grid(
                displacement.shape[2:], device=displacement.device, dtype=mask.dtype
            )
            mask = mask * ~touches(ignore_moving, grid + displacement)
        if ignore_fixed is not None:
            mask = mask * (ignore_fixed == 0)
    return mask
