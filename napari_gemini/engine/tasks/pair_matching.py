"""From two scans to the map between them: grid, placement, normalisation, matching."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from napari_gemini.correspondence.pair import match_pair
from napari_gemini.engine.device import choose_precision
from napari_gemini.engine.jobs import CorrespondJob, PropagateJob
from napari_gemini.engine.memory import check_memory, estimate_pair_bytes
from napari_gemini.engine.tasks.pair_inputs import PairInputs
from napari_gemini.engine.tasks.serving import Serving
from napari_gemini.errors import InputError
from napari_gemini.learning.study_cohort import scan_on_grid
from napari_gemini.progress import Reporter, stop_if_cancelled
from napari_gemini.settings import Similarity, SimilarityChoice
from napari_gemini.volumes.fields import DisplacementField, total_field
from napari_gemini.volumes.grid import (
    Placement,
    StudyGrid,
    choose_grid,
    labels_to_grid,
    place_by_center_of_mass,
)
from napari_gemini.volumes.intensity import choose_intensity_mode
from napari_gemini.volumes.volume import Volume

#: Refinement steps where the user says nothing.
DEFAULT_STEPS = 100
#: Finest grid without --spacing: a full-size brain pair then fits into 12 GB.
MAX_VOXELS = {2: 4_000_000, 3: 6_000_000}


@dataclass(frozen=True)
class PairMatch:
    """The map between two scans and what the study grid knows about it.

    Attributes
    ----------
    grid
        Where it was computed.
    fixed_placement
        How the fixed scan lies on it.
    field, back
        Total maps from fixed to moving and from moving to fixed.
    gss, gvs
        Similarity on the grid; gss is None where no model gives features.
    refine
        Refinement steps done.
    intensity_modes
        How the moving and the fixed scan were normalised.
    moving_placement
        How the moving scan lies on the grid.
    similarity
        How the refinement compared the scans, None without refinement.
    gss_back, gvs_back
        Similarity at the moving voxels, where it was asked for.
    """

    grid: StudyGrid
    fixed_placement: Placement
    field: DisplacementField
    back: DisplacementField
    gss: NDArray[np.float32] | None
    gvs: NDArray[np.float32]
    refine: int
    intensity_modes: tuple[str, str]
    moving_placement: Placement
    similarity: Similarity | None = None
    gss_back: NDArray[np.float32] | None = None
    gvs_back: NDArray[np.float32] | None = None

    @property
    def initial_placement(self) -> NDArray[np.float64]:
        """(4, 4) fixed world to moving world, RAS mm: the map before anything was deformed."""
        matrix: NDArray[np.float64] = self.moving_placement.matrix @ self.fixed_placement.inverse
        return matrix

    def reversed(self) -> PairMatch:
        """Return the same match seen from the moving scan.

        Raises
        ------
        ValueError
            If the similarity was asked for in one direction only.
        """
        if self.gvs_back is None:
            raise ValueError("this match was made in one direction")
        return replace(
            self,
            fixed_placement=self.moving_placement,
            moving_placement=self.fixed_placement,
            field=self.back,
            back=self.field,
            gss=self.gss_back,
            gvs=self.gvs_back,
            gss_back=self.gss,
            gvs_back=self.gvs,
            intensity_modes=self.intensity_modes[::-1],
        )


def grid_of(scans: Sequence[Volume], serving: Serving, spacing: float | None) -> StudyGrid:
    """Choose a grid for scans: the user's spacing, the model's, or the scans' own.

    A general model has no spacing of its own.
    """
    if spacing is not None:
        return choose_grid(scans, spacing)
    if serving.card is not None and not serving.card.general:
        return choose_grid(scans, float(np.mean(serving.card.spacing_mm)))
    return choose_grid(scans, max_voxels=MAX_VOXELS[scans[0].ndim])


def refine_steps(asked: int | None, serving: Serving) -> int:
    """Return how many refinement steps are done.

    Raises
    ------
    InputError
        If no step is asked for and the model gives features alone: nothing would move.
    """
    if asked == 0 and serving.network is not None and not serving.deforms:
        raise InputError(
            f"The model {serving.name} gives features and no deformation, so nothing would move "
            f"without refinement; leave out --refine or give --refine {DEFAULT_STEPS}."
        )
    if asked is not None:
        return asked
    # A network's own field is a draft that may fold; refined it is better and does not.
    return DEFAULT_STEPS


def intensity_mode(volume: Volume, serving: Serving) -> str:
    """Return how a scan is normalised: as the model was trained, else as suits the scan."""
    if serving.card is None or serving.card.general:
        return choose_intensity_mode(volume)
    return serving.card.intensity_mode


def compared_by(asked: SimilarityChoice, serving: Serving) -> SimilarityChoice:
    """Return how the refinement compares scans: as asked, else as the model learned to.

    A model that is not general has seen one contrast and serves scans in that one, so there is
    nothing to find out; its features would not guide a match in two.
    """
    special = serving.card is not None and not serving.card.general
    return "correlation" if special and asked == "auto" else asked


def match(
    inputs: PairInputs,
    serving: Serving,
    refine: int | None,
    spacing: float | None,
    device: torch.device,
    reporter: Reporter,
    advice: str,
    both: bool = False,
    similarity: SimilarityChoice = "auto",
) -> PairMatch:
    """Find the map between two scans.

    Parameters
    ----------
    inputs
        The scans.
    serving
        The model, or none.
    refine
        Refinement steps, None for what suits the model.
    spacing
        Of the grid in mm, None for what suits the pair.
    device
        Where to compute.
    reporter
        Hears about it and may stop it.
    advice
        What to lower when memory is too small.
    both
        Judge the other direction too, so that the match can be :meth:`~PairMatch.reversed`.
    similarity
        How the refinement compares the scans.

    Raises
    ------
    DeviceError
        If the memory cannot suffice.
    ModelError
        If what the model gives is not finite.
    Cancelled
        If the reporter asked to stop.
    """
    steps = refine_steps(refine, serving)
    grid = grid_of([inputs.moving, inputs.fixed], serving, spacing)
    config = serving.card.network if serving.card is not None else None
    check_memory(estimate_pair_bytes(config, grid.shape, steps), device, advice)
    _say_grid(grid, inputs, reporter)
    if serving.network is not None and not serving.deforms:
        reporter.log(
            "This model gives features and no deformation; they guide "
            f"{steps} steps of refinement, which starts from an affine map."
        )
    modes = intensity_mode(inputs.moving, serving), intensity_mode(inputs.fixed, serving)
    moving_placement = place_by_center_of_mass(inputs.moving, grid)
    fixed_placement = place_by_center_of_mass(inputs.fixed, grid)
    result = match_pair(
        serving.network,
        _tensor(inputs.moving, grid, moving_placement, modes[0], device),
        _tensor(inputs.fixed, grid, fixed_placement, modes[1], device),
        refine=steps,
        similarity=compared_by(similarity, serving),
        ignore_mask=_ignore_tensor(inputs, grid, fixed_placement, device),
        unseen_fixed=_unseen_tensor(inputs.fixed, grid, fixed_placement, device),
        unseen_moving=_unseen_tensor(inputs.moving, grid, moving_placement, device),
        autocast=autocast_of(serving, device),
        both=both,
        features_alone=serving.network is not None and not serving.deforms,
        reporter=reporter,
    )
    stop_if_cancelled(reporter)
    there, back = result.u_fixed_to_moving, result.u_moving_to_fixed
    places = fixed_placement, moving_placement
    return PairMatch(
        grid=grid,
        fixed_placement=fixed_placement,
        field=total_field(_array(there), grid, *places, inputs.fixed, inputs.moving),
        back=total_field(_array(back), grid, *places[::-1], inputs.moving, inputs.fixed),
        gss=_map(result.gss),
        gvs=_array(result.gvs)[0],
        refine=steps,
        intensity_modes=modes,
        moving_placement=moving_placement,
        similarity=result.similarity,
        gss_back=_map(result.gss_back),
        gvs_back=_map(result.gvs_back),
    )


def match_as_asked(
    inputs: PairInputs,
    serving: Serving,
    job: CorrespondJob | PropagateJob,
    device: torch.device,
    reporter: Reporter,
    both: bool = False,
) -> PairMatch:
    """Find the map between two scans with the options of a job; see :func:`match`."""
    return match(
        inputs,
        serving,
        job.refine,
        job.spacing,
        device,
        reporter,
        job.memory_advice,
        both,
        job.similarity,
    )


def _say_grid(grid: StudyGrid, inputs: PairInputs, reporter: Reporter) -> None:
    unit = "mm" if inputs.spacing_known else "pixels"
    shape = " x ".join(map(str, grid.shape))
    spacing = " x ".join(f"{s:g}" for s in dict.fromkeys(grid.spacings))
    reporter.log(f"Computing on {shape} voxels of {spacing} {unit}.")


def _tensor(
    volume: Volume, grid: StudyGrid, placement: Placement, mode: str, device: torch.device
) -> torch.Tensor:
    """Return a scan on the grid in [0, 1], (1, 1, *S)."""
    return torch.from_numpy(scan_on_grid(volume, grid, placement, mode))[None, None].to(device)


def autocast_of(serving: Serving, device: torch.device) -> torch.dtype | None:
    """Return the lower precision of the network where the device is faster with it."""
    if serving.card is None or serving.card.network.backbone != "unet":
        return None
    return torch.bfloat16 if choose_precision("auto", device) == "bf16" else None


def _ignore_tensor(
    inputs: PairInputs, grid: StudyGrid, placement: Placement, device: torch.device
) -> torch.Tensor | None:
    if inputs.ignore is None:
        return None
    mask = labels_to_grid(inputs.fixed, grid, placement, inputs.ignore.astype(np.uint8))
    return torch.from_numpy(mask.astype(np.float32))[None, None].to(device)


def _unseen_tensor(
    volume: Volume, grid: StudyGrid, placement: Placement, device: torch.device
) -> torch.Tensor:
    """Return 1 where the grid reaches beyond a scan, else 0, (1, 1, *S)."""
    scan = np.ones(volume.data.shape, dtype=np.uint8)
    inside = labels_to_grid(volume, grid, placement, scan)
    return torch.from_numpy(1 - inside.astype(np.float32))[None, None].to(device)


def _array(tensor: torch.Tensor) -> NDArray[Any]:
    """Return the only element of a batch as an array (C, *S)."""
    array: NDArray[Any] = tensor.detach()[0].float().cpu().numpy()
    return array


def _map(tensor: torch.Tensor | None) -> NDArray[Any] | None:
    """Return the only channel of a map, None where there is none."""
    return None if tensor is None else _array(tensor)[0]
