"""A phantom cohort as files, laid out like a public five-shot data set."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from napari_gemini.errors import InputError
from napari_gemini.phantom.cohort import Cohort
from napari_gemini.phantom.truth import write_truth
from napari_gemini.volumes.writing import write_labels, write_volume

SPLIT_SEEDS = 3


def cohort_split(cohort: Cohort, labelled: int = 5, test: int | None = None) -> dict[str, Any]:
    """Return who is labelled, who may be used and who is kept for the final score.

    Parameters
    ----------
    cohort
        The scans.
    labelled
        Labelled scans per seed.
    test
        Scans at the end of the cohort kept for the final score; a third when not given.

    Returns
    -------
    dict
        Keys ``task``, ``labels``, ``labelled`` (by seed name), ``pool`` and ``test``. ``seed0``
        takes the first scans, the other seeds random ones.

    Raises
    ------
    InputError
        If the cohort is too small.
    """
    ids = [case.id for case in cohort.cases]
    free = _pool_size(len(ids), labelled, test)
    pool, final = ids[:free], ids[free:]
    rng = np.random.default_rng([cohort.seed, 99])
    chosen = {"seed0": pool[:labelled]}
    for k in range(1, SPLIT_SEEDS):
        chosen[f"seed{k}"] = sorted(rng.choice(pool, labelled, replace=False).tolist())
    return {
        "task": f"phantom cohort in {cohort.dimension}D, five-shot",
        "labels": {"0": "background", **{str(v): name for v, name in cohort.names.items()}},
        "labelled": chosen,
        "pool": pool,
        "test": final,
        "note": f"synthetic, seed {cohort.seed}; the true maps are in truth/",
    }


def _pool_size(count: int, labelled: int, test: int | None) -> int:
    """Return how many scans are not kept for the final score, if they suffice."""
    kept = count // 3 if test is None else test
    if count - kept < labelled or labelled < 1:
        raise InputError(
            f"{count} scans are too few for {labelled} labelled and {kept} test scans: "
            "raise the count."
        )
    return count - kept


def check_cohort(
    folder: str | Path, count: int, *, labelled: int = 5, test: int | None = None
) -> None:
    """Refuse what :func:`write_cohort` cannot write, before the scans are made.

    Parameters
    ----------
    folder
        Where the cohort is to be.
    count
        Number of scans.
    labelled, test
        See :func:`cohort_split`.

    Raises
    ------
    InputError
        If the folder holds something already, or the scans are too few for the split.
    """
    folder = Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder} is not an empty folder: choose another place for the cohort.")
    _pool_size(count, labelled, test)


def write_cohort(
    folder: str | Path, cohort: Cohort, *, labelled: int = 5, test: int | None = None
) -> Path:
    """Write a cohort: ``images/``, ``labels/``, ``split.json`` and ``truth/``.

    Pictures (2D without known spacing) become PNG files, everything else NIfTI. Masks of lesions
    go to ``truth/lesions/``.

    Parameters
    ----------
    folder
        A folder that does not exist yet, or is empty.
    cohort
        The scans.
    labelled, test
        See :func:`cohort_split`.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    InputError
        If the folder holds something already, or the cohort is too small for the split.
    """
    folder = Path(folder)
    check_cohort(folder, len(cohort), labelled=labelled, test=test)
    split = cohort_split(cohort, labelled, test)
    for name in ("images", "labels", "truth"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for case in cohort.cases:
        name = case.id + (".nii.gz" if case.image.spacing_known else ".png")
        write_volume(folder / "images" / name, case.image.data, case.image)
        write_labels(folder / "labels" / name, case.labels.data, case.labels)
        if case.lesion is not None:
            (folder / "truth" / "lesions").mkdir(exist_ok=True)
            mask = case.lesion.astype(np.uint8)
            write_labels(folder / "truth" / "lesions" / name, mask, case.labels)
    write_truth(folder / "truth", cohort.truth)
    # The split comes last: a cohort without it was not written to the end.
    (folder / "split.json").write_text(json.dumps(split, indent=1) + "\n", encoding="utf-8")
    return folder
