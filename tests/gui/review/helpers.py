"""A study with predictions and pairs, as ``predict`` and ``correspond`` leave them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from napari_gemini.study.study import Study
from napari_gemini.volumes.writing import write_labels
from tests.gui.helpers import make_study

#: Evidence by case of the run ``first``; case4 is far from the others.
EVIDENCE = {
    "case1": (0.90, 0.10, 0.93),
    "case2": (0.91, 0.12, 0.94),
    "case3": (0.92, 0.11, 0.93),
    "case4": (0.40, 3.00, 0.70),
    "case5": (0.90, 0.10, 0.94),
    "case6": (0.91, 0.13, 0.93),
}


def reviewed_study(folder: Path) -> Study:
    """Make a study of seven cases, one of them labelled, six predicted, two in pairs."""
    study = make_study(folder, cases=7, labelled=1)
    out = study.predictions_dir("first")
    out.mkdir(parents=True)
    rows = []
    for case, (agreement, folds, gss) in EVIDENCE.items():
        image = study.load_image(case)
        labels = (image.data > 50).astype(np.uint8) + (image.data > 150)
        write_labels(study.prediction_path("first", case), labels, image)
        rows.append({"case": case, "agreement": agreement, "fold_percent": folds, "gss_mean": gss})
    (out / "predictions.json").write_text(json.dumps({"cases": rows}))
    for case, inverse in (("case1", 0.5), ("case2", 0.9)):
        pair = study.folder / "pairs" / f"{case}__case0"
        pair.mkdir(parents=True)
        report = {
            "kind": "correspond",
            "inputs": {
                "fixed": str(study.image_path(case)),
                "moving": str(study.image_path("case0")),
            },
            "fold_percent": 0.1,
            "gss_mean": None,
            "gvs_mean": 0.8,
            "inverse_consistency_mm": {"mean": inverse, "p95": 2.0},
            "dice": {"1": 0.8, "2": 0.6},
        }
        (pair / "report.json").write_text(json.dumps(report))
    return study
