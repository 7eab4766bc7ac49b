"""Labels of the head, and labels that the fields carry over, on scans a training saw no labels of.

    python benchmarks/carried_labels.py STUDY LABELS RUN [RUN ...]

For each run of the study the unlabelled scans of its pool are labelled in four ways on the study
grid, without refinement: by the head, by the field from one labelled scan (mean over those), by the
vote of all labelled scans, and by the average of head and vote. Printed is the mean Dice.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from napari_gemini.correspondence.warp import warp
from napari_gemini.learning.checkpoints import LoadedModel, load_model, resolve_model
from napari_gemini.learning.prediction import features_on_grid
from napari_gemini.learning.study_cohort import scan_on_grid, target_on_grid
from napari_gemini.learning.target_masks import target_masks
from napari_gemini.learning.validation import mean_dice, spread
from napari_gemini.study.study import Study
from napari_gemini.volumes.grid import labels_to_grid
from napari_gemini.volumes.reading import read_labels


def features_of(study: Study, case: str, model: LoadedModel) -> Tensor:
    """Return the features (1, F, *S) of a case."""
    image, placement = study.load_image(case), study.placement(case)
    return features_on_grid(
        model, scan_on_grid(image, study.grid, placement, model.card.intensity_mode)
    )


def truth_of(study: Study, case: str, model: LoadedModel, labels: Path) -> Tensor:
    """Return the reference masks (C, *S) of a case, which the study itself does not have."""
    found = read_labels(next(labels.glob(f"{case}.*")))
    indices = study.scheme.to_indices(found.data)
    # The study holds that labels lie on the grid of their scan, whatever their own header says.
    outline = study.outline(case)
    target = labels_to_grid(outline, study.grid, study.placement(case), indices)
    return target_masks(torch.from_numpy(target)[None], model.network.config)[0]


def hard(scores: Tensor) -> Tensor:
    """Return one-hot masks (C, *S) of the largest score."""
    return F.one_hot(scores.argmax(0), len(scores)).movedim(-1, 0).float()


@torch.no_grad()
def score(study: Study, model: LoadedModel, cases: list[str], labels: Path) -> dict[str, float]:
    """Return the mean Dice over cases and labels of each way."""
    network = model.network.eval()
    atlases = []
    if model.card.deforms:
        for case in study.cases_with("labelled", labels=True):
            target = target_on_grid(study, case.id, study.grid, study.placement(case.id))
            masks = target_masks(torch.from_numpy(target)[None], network.config)[0]
            atlases.append((features_of(study, case.id, model), masks))
    found: dict[str, list[float]] = defaultdict(list)
    for case in cases:
        features, truth = features_of(study, case, model), truth_of(study, case, model, labels)
        head = network.segment(features).softmax(1)[0]
        found["head"].append(mean_dice(hard(head)[1:], truth[1:]))
        if not atlases:
            continue
        carried = [
            warp(masks[None], network.displacement(moving, features))[0]
            for moving, masks in atlases
        ]
        one = [mean_dice(hard(scores)[1:], truth[1:]) for scores in carried]
        vote = torch.stack(carried).mean(0)
        found["one"].append(float(np.mean(one)))
        found["vote"].append(mean_dice(hard(vote)[1:], truth[1:]))
        found["head and vote"].append(mean_dice(hard(head + vote)[1:], truth[1:]))
    return {way: float(np.mean(values)) for way, values in found.items()}


def main() -> None:
    """Print a line for each run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("study", type=Path)
    parser.add_argument("labels", type=Path, help="folder of reference labels")
    parser.add_argument("runs", nargs="+")
    parser.add_argument("--cases", type=int, default=30)
    options = parser.parse_args()
    torch.set_num_threads(1)
    study = Study.open(options.study)
    names = [case.id for case in study.cases if case.role == "unlabelled"]
    cases = [names[i] for i in spread(list(range(len(names))), options.cases)]
    for run in options.runs:
        model = load_model(resolve_model(str(study.runs_dir / run)), "cpu")
        values = score(study, model, cases, options.labels)
        print(run, "  ".join(f"{way} {value:.4f}" for way, value in values.items()), flush=True)


if __name__ == "__main__":
    main()
