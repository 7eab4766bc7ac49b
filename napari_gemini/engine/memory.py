"""How much memory a training or a pair will need, said before it starts.

The numbers are floats a voxel that automatic differentiation keeps, counted from the layout of the
networks; a test holds them against what torch really saves.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from napari_gemini.engine.device import format_bytes, free_memory
from napari_gemini.errors import DeviceError
from napari_gemini.settings import NetworkSettings, TrainSettings

if TYPE_CHECKING:
    import torch

FLOAT = 4
#: Kept for each channel and voxel of a stage: two convolution blocks down (convolution,
#: normalisation, activation each), two up, one interpolation and one concatenation.
_STAGE_FLOATS = 17.0
#: The same for the deformer at its finest resolution, features in and out included.
_DEFORMER_FLOATS = 14.0
#: Warped features, cosine and local correlation of one direction, for each feature channel.
_LOSS_FLOATS = 8.0
#: Images, fields, masks and box sums of one direction, whatever the width.
_FIXED_FLOATS = 60.0
#: Weights, gradients, two moments of the optimiser.
_COPIES = 4
#: Gradients in flight, workspaces of convolutions and fragmentation.
_MARGIN = 1.3


def _unet_parameters(settings: NetworkSettings) -> float:
    # 24.08 million at width 32 in 3D (a 3x3x3 kernel), a third of that with 3x3.
    return 24.1e6 * (settings.base_width / 32) ** 2 * 3.0 ** (settings.dimension - 3)


def _features_floats(settings: NetworkSettings) -> float:
    # Each coarser stage has twice the channels and 2^-d of the voxels.
    ratio = 2.0 ** (1 - settings.dimension)
    return _STAGE_FLOATS * settings.base_width / (1 - ratio)


def _pair_floats(settings: NetworkSettings) -> float:
    coarse = 1.0 / settings.field_stride**settings.dimension
    deformer = settings.base_width * (2 + (_DEFORMER_FLOATS - 2) * coarse)
    direction = deformer + _LOSS_FLOATS * settings.base_width + _FIXED_FLOATS
    return 2 * (_features_floats(settings) + direction)


def estimate_training_bytes(settings: TrainSettings, shape: Sequence[int]) -> int:
    """Return the memory that a training step needs, in bytes.

    Parameters
    ----------
    settings
        The training.
    shape
        Of the study grid.
    """
    network = settings.network
    pair = settings.pairs_per_step * _pair_floats(network)
    classes = 6.0 * network.classes
    labelled = settings.labelled_per_step * (_features_floats(network) + classes + _FIXED_FLOATS)
    floats = max(pair if settings.objective != "supervised" else 0.0, labelled)
    weights = _COPIES * _unet_parameters(network)
    return int(FLOAT * (_MARGIN * floats * math.prod(shape) + weights))


def estimate_pair_bytes(
    network: NetworkSettings | None, shape: Sequence[int], refine: int = 0
) -> int:
    """Return the memory that the correspondence of one pair needs, in bytes.

    Parameters
    ----------
    network
        None where the images alone are registered.
    shape
        Of the study grid.
    refine
        Refinement steps.
    """
    voxels = math.prod(shape)
    width = network.base_width if network is not None else 0
    # Without gradients only the finest stage and the features of both scans are there at once.
    floats = _FIXED_FLOATS + 10.0 * width
    if refine:
        floats += 2 * _FIXED_FLOATS + 2 * _LOSS_FLOATS * width
    weights = _unet_parameters(network) if network is not None else 0.0
    return int(FLOAT * (_MARGIN * floats * voxels + weights))


def check_memory(need: int, device: torch.device | str, advice: str) -> None:
    """Refuse work that cannot fit, before any time is spent on it.

    Parameters
    ----------
    need
        Estimated bytes.
    device
        Where it would run.
    advice
        What to lower, continuing "To make it fit, ...".

    Raises
    ------
    DeviceError
        If the estimate is more than twice the free memory: estimates may be wrong by less.
    """
    free = free_memory(device)
    if free is not None and need > 2 * free:
        raise DeviceError(
            f"This needs about {format_bytes(need)} of memory and {device} has "
            f"{format_bytes(free)} free; to make it fit, {advice}."
        )
