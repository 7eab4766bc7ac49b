"""The job ``probe``: how much every voxel of one scan resembles one voxel of the other."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from napari_gemini.engine.arrays import exchange
from napari_gemini.engine.device import select_device
from napari_gemini.engine.jobs import ProbeJob
from napari_gemini.engine.tasks.feature_cache import cache, file_key, model_key
from napari_gemini.engine.tasks.probe_lattice import FeatureLattice, make_lattice
from napari_gemini.engine.tasks.scan_features import compute_features, read_scans
from napari_gemini.errors import InputError
from napari_gemini.progress import Reporter


@dataclass(frozen=True)
class PairLattices:
    """What a probe needs of a pair.

    Attributes
    ----------
    fixed, moving
        Features of either scan.
    facts
        What the result says of the features: ``model``, ``sentence``, ``features``, ``notes``.
    """

    fixed: FeatureLattice
    moving: FeatureLattice
    facts: dict[str, Any]

    @property
    def size(self) -> int:
        """Bytes of the features."""
        return self.fixed.features.nbytes + self.moving.features.nbytes


def run(job: ProbeJob, reporter: Reporter) -> dict[str, Any]:
    """Probe one point; the features of the pair are kept for the next one.

    Parameters
    ----------
    job
        What the user asked for.
    reporter
        Hears about progress and may stop it.

    Returns
    -------
    dict
        ``model``, ``sentence``, ``features`` (``network`` or ``local descriptors``), ``notes``,
        ``cached`` (whether the features were at hand), ``seconds``; and with a point: ``side``,
        ``point``, ``map`` (array of cosines on a lattice of the other scan), ``affine`` (its index
        to RAS mm), ``stride``, ``best`` and ``best_similarity`` (the most similar lattice point,
        RAS mm), ``partner_similarity``.

    Raises
    ------
    GeminiError
        With one sentence for bad input.
    """
    started = time.monotonic()
    lattices, cached = pair_lattices(job, reporter)
    values: dict[str, Any] = {**lattices.facts, "cached": cached}
    if job.point is not None:
        values |= compare(job, lattices)
    return {**values, "seconds": round(time.monotonic() - started, 4)}


def pair_lattices(job: ProbeJob, reporter: Reporter) -> tuple[PairLattices, bool]:
    """Return the features of a pair and whether they were kept from an earlier job."""
    device = select_device(job.device)
    files = file_key(job.fixed), file_key(job.moving)
    key = ("probe", model_key(job.model), files, job.spacing, str(device))
    known = cache().get(key)
    if isinstance(known, PairLattices):
        return known, True
    volumes = read_scans([job.fixed, job.moving])
    found = compute_features(volumes, job.model, job.spacing, device, reporter, job.memory_advice)
    facts = {
        "model": found.model,
        "sentence": found.sentence,
        "features": found.kind,
        "notes": found.notes,
    }
    made = PairLattices(make_lattice(found, 0, reporter), make_lattice(found, 1, reporter), facts)
    cache().put(key, made, made.size)
    return made, False


def compare(job: ProbeJob, lattices: PairLattices) -> dict[str, Any]:
    """Compare the feature at the job's point with all of the other scan."""
    here, there = lattices.fixed, lattices.moving
    if job.side == "moving":
        here, there = there, here
    assert job.point is not None
    for point in (job.point, job.partner):
        if point is not None and len(point) != len(here.shape):
            raise InputError(
                f"The point {point} does not have {len(here.shape)} coordinates, as the scans do."
            )
    feature = here.at(job.point)
    if feature is None:
        raise InputError("The point lies outside of its scan; choose one within.")
    similarity = there.similarity(feature)
    best = np.unravel_index(int(similarity.argmax()), there.shape)
    partner = None if job.partner is None else there.at(job.partner)
    return {
        "side": job.side,
        "point": job.point,
        "map": exchange().put(similarity).model_dump(),
        "affine": there.affine.tolist(),
        "stride": there.stride,
        "best": there.world(np.array(best)).tolist(),
        "best_similarity": float(similarity[best]),
        "partner_similarity": None if partner is None else float(feature @ partner),
    }
