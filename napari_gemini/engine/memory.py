"""How much memory a training or a pair will need, said before it starts.

The numbers are floats a voxel that automatic differentiation keeps, counted from the layout of the
networks; a test holds them against what torch really saves.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from napari_gemini.engine.device import format_bytes, free_memory
from napari_gemini.errors import DeviceError
from napari_gemini.settings import NetworkSettings, TrainSettings

if TYPE_CHECKING:
    import torch

#: Environment variable with the most memory, in GB, that work may be estimated to need.
LIMIT_VARIABLE = "NAPARI_GEMINI_MEMORY_LIMIT_GB"

FLOAT = 4
#: Kept for each channel and voxel of a stage: outputs and normalised outputs of two convolution
#: blocks down and two up, an interpolation and a concatenation.
_STAGE_FLOATS = 11.0
#: The same for the deformer at its finest resolution.
_DEFORMER_FLOATS = 12.0
#: Warped features and their cosine in one direction, for each feature channel.
_LOSS_FLOATS = 2.5
#: Images, fields, masks and box sums of one direction, whatever the width.
_FIXED_FLOATS = 40.0
#: Both feature maps, joined and convolved, for each feature channel; nothing is kept for gradients.
_PAIR_FLOATS = 20.0
#: Weights, gradients, two moments of the optimiser and one more copy while it steps.
_COPIES = 5
#: Gradients in flight, workspaces of convolutions and fragmentation.
_MARGIN = 1.4
#: What bf16 saves is not half: normalisation and losses stay in fp32.
_BF16 = 0.75


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
    if settings.precision == "bf16":
        floats *= _BF16
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
    # Without gradients the peak is the deformer's finest stage for both directions at once.
    floats = _FIXED_FLOATS + _PAIR_FLOATS * width
    if refine:
        floats += 2 * _FIXED_FLOATS + 2 * 2 * _LOSS_FLOATS * width
    weights = _unet_parameters(network) if network is not None else 0.0
    return int(FLOAT * (_MARGIN * floats * voxels + weights))


def memory_limit() -> int:
    """Return the limit that the environment sets, in bytes; 0 for none."""
    try:
        limit = float(os.environ.get(LIMIT_VARIABLE, 0))
    except ValueError:
        return 0
    return int(limit * 1e9) if math.isfinite(limit) and limit > 0 else 0


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
        If the estimate is more than twice the free memory, since estimates may be wrong by less;
        or more than the limit that the environment sets.
    """
    limit = memory_limit()
    if limit and need > limit:
        raise DeviceError(
            f"This needs about {format_bytes(need)} of memory and the limit that is set is "
            f"{format_bytes(limit)}; to make it fit, {advice}, or raise the limit."
        )
    free = free_memory(device)
    if free is not None and need > 2 * free:
        raise DeviceError(
            f"This needs about {format_bytes(need)} of memory and {device} has "
            f"{format_bytes(free)} free; to make it fit, {advice}."
        )
