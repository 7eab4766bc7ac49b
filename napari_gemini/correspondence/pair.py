"""Correspondence of one pair in both directions, from a network, from refinement or from both."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeVar

import torch
from torch import Tensor

from napari_gemini.correspondence.contrast import suiting_similarity
from napari_gemini.correspondence.refinement import Refinement, refine_pair
from napari_gemini.correspondence.similarity import cosine_map
from napari_gemini.correspondence.similarity_maps import either, gvs_map
from napari_gemini.correspondence.starts import best_start
from napari_gemini.correspondence.warp import comparison_mask, warp
from napari_gemini.errors import DeviceError, InputError, ModelError
from napari_gemini.progress import Reporter, SilentReporter, stop_if_cancelled
from napari_gemini.settings import RefineSettings, Similarity, SimilarityChoice

if TYPE_CHECKING:
    from collections.abc import Iterator

Result = TypeVar("Result")


class PairNetwork(Protocol):
    """What matching needs of a network."""

    def features(self, image: Tensor) -> Tensor:
        """Return features (B, F, *S) of images (B, 1, *S)."""

    def displacement(self, moving: Tensor, fixed: Tensor) -> Tensor:
        """Return the displacement (B, d, *S) in voxels from two feature maps."""


@dataclass(frozen=True)
class PairResult:
    """Correspondence of a pair, all on one grid, batch of one.

    Attributes
    ----------
    u_fixed_to_moving
        ``(1, d, *S)``: from a fixed voxel to its counterpart in the moving image; warping the
        moving image by it brings it onto the fixed one.
    u_moving_to_fixed
        ``(1, d, *S)``: the other direction, on the moving image's voxels.
    gss
        ``(1, 1, *S)`` cosine of corresponding features at the fixed voxels, None without network.
    gvs
        ``(1, 1, *S)`` squared local correlation at the fixed voxels.
    mask
        ``(1, 1, *S)``: 1 where the counterpart is in the field of view and nothing is ignored.
    refinement
        What the refinement says about itself, None without.
    similarity
        How the refinement compared the images, None without.
    gss_back, gvs_back
        The two maps at the moving voxels, where they were asked for.
    """

    u_fixed_to_moving: Tensor
    u_moving_to_fixed: Tensor
    gss: Tensor | None
    gvs: Tensor
    mask: Tensor
    refinement: Refinement | None = None
    gss_back: Tensor | None = None
    gvs_back: Tensor | None = None
    similarity: Similarity | None = None


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that a device's memory is used up."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and any(
        words in text for words in ("out of memory", "not enough memory", "can't allocate memory")
    )


def _in_one_or_one_by_one(
    compute: Callable[..., Tensor], *batches: Tensor, reporter: Reporter
) -> Tensor:
    """Compute a batch at once or, where memory does not suffice, element by element."""
    try:
        return compute(*batches)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
    # Outside the handler, so that the failed attempt's tensors are free by now.
    _free_cached(batches[0])
    reporter.log("Memory is short; computing one after the other.", "warning")
    try:
        return torch.cat([compute(*parts) for parts in zip(*map(_singles, batches), strict=True)])
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        device = batches[0].device
        elsewhere = "" if device.type == "cpu" else " or --device cpu"
        raise DeviceError(
            f"The pair does not fit into the memory of {device}; use a coarser --spacing "
            f"or a smaller model{elsewhere}."
        ) from error


def _singles(batch: Tensor) -> tuple[Tensor, ...]:
    return batch.split(1)


def _free_cached(tensor: Tensor) -> None:
    if tensor.device.type == "cuda":
        torch.cuda.empty_cache()


@contextmanager
def _evaluating(network: PairNetwork) -> Iterator[None]:
    """Put a module into evaluation mode for a while."""
    training = isinstance(network, torch.nn.Module) and network.training
    if isinstance(network, torch.nn.Module):
        network.eval()
    try:
        yield
    finally:
        if isinstance(network, torch.nn.Module):
            network.train(training)


@torch.inference_mode()
def _predict(
    network: PairNetwork,
    moving: Tensor,
    fixed: Tensor,
    autocast: torch.dtype | None,
    reporter: Reporter,
) -> tuple[Tensor, Tensor]:
    """Return features of [moving, fixed] and displacements [onto fixed, onto moving]."""
    device = moving.device.type
    with _evaluating(network), torch.autocast(device, autocast, enabled=autocast is not None):
        reporter.progress(0, 3, "Computing features")
        images = torch.cat([moving, fixed])
        features = _in_one_or_one_by_one(network.features, images, reporter=reporter)
        stop_if_cancelled(reporter)
        reporter.progress(1, 3, "Matching features")
        swapped = features.flip(0)
        fields = _in_one_or_one_by_one(network.displacement, features, swapped, reporter=reporter)
        stop_if_cancelled(reporter)
    if not (features.isfinite().all() and fields.isfinite().all()):
        raise ModelError(
            "What the model gives for this pair is not finite, so its training has failed: use "
            "another model, or --model none."
        )
    return features, fields.float()


def _field_onto(
    network: PairNetwork,
    moving: Tensor,
    features_fixed: Tensor,
    autocast: torch.dtype | None,
    reporter: Reporter,
) -> Tensor:
    """Return the displacement (1, d, *S) of another moving image onto a fixed one known already."""
    device = moving.device.type
    with (
        torch.no_grad(),
        _evaluating(network),
        torch.autocast(device, autocast, enabled=autocast is not None),
    ):
        features = _in_one_or_one_by_one(network.features, moving, reporter=reporter)
        field = _in_one_or_one_by_one(
            network.displacement, features, features_fixed, reporter=reporter
        )
    return field.float()


def match_pair(
    network: PairNetwork | None,
    moving: Tensor,
    fixed: Tensor,
    *,
    refine: int = 0,
    similarity: SimilarityChoice = "auto",
    settings: RefineSettings | None = None,
    ignore_mask: Tensor | None = None,
    ignore_moving: Tensor | None = None,
    unseen_fixed: Tensor | None = None,
    unseen_moving: Tensor | None = None,
    autocast: torch.dtype | None = None,
    both: bool = False,
    features_alone: bool = False,
    reporter: Reporter | None = None,
) -> PairResult:
    """Find the correspondence of one pair in both directions.

    Parameters
    ----------
    network
        Gives features and displacements; None leaves everything to refinement, from the identity.
    moving, fixed
        ``(1, 1, *S)`` images on one grid, in [0, 1]; `S` as the network needs it.
    refine
        Steps of instance refinement.
    similarity
        How the refinement compares the images; ``auto`` for what suits their contrasts. A network
        knows one contrast, so its displacement and features guide no match by self-similarity: with
        them 14 pairs of random anatomies in two contrasts ended further from the truth.
    settings
        Of the refinement; its steps and its similarity give way to the two above.
    ignore_mask, ignore_moving
        ``(1, 1, *S)``, non-zero where the fixed and the moving image must not count.
    unseen_fixed, unseen_moving
        ``(1, 1, *S)``, non-zero where the grid reaches beyond a scan. What was padded there
        resembles the padding of the other scan, so the GVS maps leave it out.
    autocast
        Lower precision of the network, such as ``torch.bfloat16``; None keeps float32. All else
        is computed in float32 anyway.
    both
        Compare at the moving voxels too; both displacements are there anyway.
    features_alone
        The network's features guide the refinement, its displacement is not used: it was trained
        without a deformer.
    reporter
        Hears about progress and may cancel.

    Returns
    -------
    PairResult
        Displacements and similarity maps.

    Raises
    ------
    InputError
        If the images are no pair on one grid.
    DeviceError
        If the memory does not suffice even for one image at a time.
    ModelError
        If the network's features or displacements are not finite.
    Cancelled
        If the reporter asked to stop.
    """
    reporter = SilentReporter() if reporter is None else reporter
    if moving.shape != fixed.shape or fixed.ndim not in (4, 5) or fixed.shape[:2] != (1, 1):
        raise InputError(
            "Matching takes one pair of images of one shape (1, 1, *spatial); "
            f"these have {tuple(moving.shape)} and {tuple(fixed.shape)}."
        )
    features = None
    ignore_seen = either(ignore_mask, unseen_fixed)
    shape = tuple(fixed.shape[2:])
    there = back = moving.new_zeros((1, len(shape), *shape), dtype=torch.float32)
    if network is not None:
        features, fields = _predict(network, moving, fixed, autocast, reporter)
        if not features_alone:
            there, back = fields[:1].clone(), fields[1:].clone()
    refinement = None
    compared: Similarity | None = None
    if refine > 0:
        if similarity == "auto":
            similarity = suiting_similarity(
                moving,
                fixed,
                either(ignore_moving, unseen_moving),
                ignore_seen,
                reporter=reporter,
            )
        compared = similarity
        settings = (settings or RefineSettings()).model_copy(
            update={"steps": refine, "similarity": compared}
        )
        initial = None
        guides = features if compared == "correlation" else None
        if network is not None and guides is not None and not features_alone:
            known = guides[1:]
            start = best_start(
                there,
                lambda image: _field_onto(network, image, known, autocast, reporter),
                moving,
                fixed,
                affine_steps=settings.affine_steps,
                ignore_moving=ignore_moving,
                ignore_fixed=ignore_seen,
                reporter=reporter,
            )
            initial = start.displacement
            words = f"{start.name} (similarity {start.similarity:.3f})"
            reporter.log(f"Refinement starts from the {words}.", "debug")
        refinement = refine_pair(
            moving,
            fixed,
            initial=initial,
            features=None if guides is None else (guides[:1], guides[1:]),
            settings=settings,
            ignore_mask=ignore_mask,
            ignore_moving=ignore_moving,
            reporter=reporter,
        )
        there, back = refinement.displacement, refinement.inverse
    with torch.inference_mode():
        gss = None
        if features is not None:
            reporter.progress(2, 3, "Comparing features")
            gss = cosine_map(warp(features[:1], there), features[1:])
        gvs = gvs_map(moving, fixed, there, ignore_seen, unseen_moving)
        mask = comparison_mask(there, ignore_moving, ignore_mask)
        gss_back = gvs_back = None
        if both:
            if features is not None:
                gss_back = cosine_map(warp(features[1:], back), features[:1])
            ignore_back = either(ignore_moving, unseen_moving)
            gvs_back = gvs_map(fixed, moving, back, ignore_back, unseen_fixed)
    return PairResult(there, back, gss, gvs, mask, refinement, gss_back, gvs_back, compared)
