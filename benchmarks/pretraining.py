"""Compare fine-tuned backbones of every pre-training objective with a backbone from scratch.

A phantom cohort in 2D is split into a pool and test scans. Every objective pre-trains on the pool
without labels, each for the same number of steps on the same number of scans a step; then the
backbone is fine-tuned with the labels of a few scans (cross-entropy plus Dice, nothing else), again
for equal steps, and so is a network from scratch. Printed is the mean Dice over labels and test
scans, once with all weights trained and once with the backbone frozen (linear probe: the head
alone learns).

Run ``python benchmarks/pretraining.py [--objectives gemini-mip ...] [--seed 0] [--out FILE]``. It
is small on purpose (minutes on one core), so it shows a direction and no more; differences of a few
hundredths between single seeds are noise. With ``--out`` rows are added to a JSON file, and
``--table FILE`` prints means over the seeds in it.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from napari_gemini.engine.device import setup_determinism
from napari_gemini.learning.card import ModelCard
from napari_gemini.learning.cohort import Cohort, assemble
from napari_gemini.learning.objectives.registry import objective_class
from napari_gemini.learning.study_cohort import (
    fit_network,
    load_study_cohort,
    scan_on_grid,
)
from napari_gemini.learning.trainer import Trainer
from napari_gemini.learning.validation import HeldBackDice
from napari_gemini.networks.gemini import GeminiNetwork, build_network
from napari_gemini.phantom.cohort import make_cohort
from napari_gemini.phantom.files import write_cohort
from napari_gemini.progress import SilentReporter
from napari_gemini.settings import (
    PRETRAINING,
    NetworkSettings,
    TrainSettings,
    TransportSettings,
    pretraining_preset,
)
from napari_gemini.study.study import Study
from napari_gemini.volumes.grid import labels_to_grid
from napari_gemini.volumes.reading import read_labels

SCRATCH = "scratch"


def make_study(folder: Path, options: argparse.Namespace) -> Study:
    """Write a phantom cohort and return its study: labelled, unlabelled and test scans."""
    made = make_cohort(
        options.pool + options.test, 2, (options.size,) * 2, seed=options.seed, crop=True
    )
    cohort = write_cohort(folder / "cohort", made, labelled=options.labelled, test=options.test)
    return Study.create(
        folder / "study", [cohort / "images"], cohort / "labels", cohort / "split.json", "seed0"
    )


def test_scans(study: Study, mode: str) -> tuple[Cohort, dict[int, torch.Tensor]]:
    """Return the test scans of a study on its grid, and their targets."""
    names = [case.id for case in study.cases if case.role == "test"]
    images, targets = [], {}
    for index, name in enumerate(names):
        placement, image = study.placement(name), study.load_image(name)
        images.append(scan_on_grid(image, study.grid, placement, mode))
        # The study keeps no labels of test cases; the phantom wrote them beside.
        labels = read_labels(next((study.folder.parent / "cohort/labels").glob(f"{name}.*")))
        target = labels_to_grid(image, study.grid, placement, study.scheme.to_indices(labels.data))
        targets[index] = torch.from_numpy(target.astype("int16"))
    return assemble(names, images, {}), targets


def fit(settings: TrainSettings, cohort: Cohort, folder: Path, network: GeminiNetwork) -> None:
    """Train a network in place."""
    objective = objective_class(settings.objective)(network, settings, cohort)
    size = len(cohort.shape)
    card = ModelCard(
        network=settings.network, spacing_mm=[1.0] * size, grid_shape=list(cohort.shape)
    )
    Trainer(objective, folder, card, SilentReporter()).fit()


def settings_of(objective: str, options: argparse.Namespace, network: NetworkSettings) -> Any:
    """Return the settings of a pre-training: the standard ones with equal steps and scans."""
    pairs = objective in ("gemini-mip", "gvsl")
    changes = {
        "steps": options.steps,
        "seed": options.seed,
        "precision": "fp32",
        "network": network,
        "checkpoint_every": options.steps,
        "pairs_per_step": options.scans // 2 if pairs else options.scans,
        # The published 2048 is for images of 224 pixels and hundreds of thousands of scans.
        "transport": TransportSettings(expansion=256),
    }
    made = pretraining_preset(objective, "standard", 2).model_copy(update=changes)
    return TrainSettings.model_validate(made.model_dump())


def tuning_settings(options: argparse.Namespace, network: NetworkSettings, frozen: bool) -> Any:
    """Return the settings of the fine-tuning with labels."""
    return TrainSettings(
        preset=None,
        objective="supervised",
        steps=options.tuning_steps,
        seed=options.seed,
        precision="fp32",
        labelled_per_step=2,
        checkpoint_every=options.tuning_steps,
        freeze_backbone=frozen,
        network=network,
    )


def compare(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Pre-train, fine-tune and score every objective; return one row each."""
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        study = make_study(folder, options)
        base = NetworkSettings(dimension=2, base_width=options.base_width)
        network = fit_network(base, study)
        tuning = tuning_settings(options, network, frozen=False)
        data = load_study_cohort(study, tuning, SilentReporter(), torch.device("cpu"))
        test, targets = test_scans(study, data.intensity_mode)
        validator = HeldBackDice(test, targets)
        for objective in options.objectives:
            setup_determinism(options.seed, options.threads)
            began = time.monotonic()
            source = build_network(network)
            if objective != SCRATCH:
                fit(
                    settings_of(objective, options, network),
                    data.cohort,
                    folder / objective,
                    source,
                )
            learned = {k: v.clone() for k, v in source.backbone.state_dict().items()}
            row = {"objective": objective, "seed": options.seed}
            row["pretraining_seconds"] = round(time.monotonic() - began, 1)
            for kind, frozen in (("fine_tuned", False), ("frozen", True)):
                setup_determinism(options.seed, options.threads)
                student = build_network(network)
                student.backbone.load_state_dict(learned)
                settings = tuning_settings(options, network, frozen)
                fit(settings, data.cohort, folder / f"{objective}-{kind}", student)
                student.eval()
                with torch.no_grad():
                    row[kind] = round(validator.score(student), 4)
            print(json.dumps(row), flush=True)
            rows.append(row)
    return rows


def print_table(rows: Sequence[dict[str, Any]]) -> None:
    """Print means over seeds as a table, scratch first."""
    print("| objective | seeds | fine-tuned | frozen | fine-tuned minus scratch |")
    print("|---|---|---|---|---|")
    names = list(dict.fromkeys(row["objective"] for row in rows))
    scratch = {r["seed"]: r["fine_tuned"] for r in rows if r["objective"] == SCRATCH}
    for name in sorted(names, key=lambda n: n != SCRATCH):
        own = [row for row in rows if row["objective"] == name]
        tuned, frozen = (statistics.mean(r[k] for r in own) for k in ("fine_tuned", "frozen"))
        gains = [r["fine_tuned"] - scratch[r["seed"]] for r in own if r["seed"] in scratch]
        gain = " ".join(f"{value:+.3f}" for value in gains)
        print(f"| {name} | {len(own)} | {tuned:.3f} | {frozen:.3f} | {gain} |")


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the options."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--objectives", nargs="+", default=[SCRATCH, *PRETRAINING], choices=[SCRATCH, *PRETRAINING]
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--pool", type=int, default=20, help="scans to learn from")
    parser.add_argument("--labelled", type=int, default=3, help="of the pool, with labels")
    parser.add_argument("--test", type=int, default=8)
    parser.add_argument("--size", type=int, default=64, help="pixels of the phantom's picture")
    parser.add_argument("--scans", type=int, default=4, help="of a pre-training step")
    parser.add_argument("--steps", type=int, default=200, help="of the pre-training")
    parser.add_argument("--tuning-steps", type=int, default=100)
    parser.add_argument("--base-width", type=int, default=8)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--table", type=Path, help="only print the table of a file of rows")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the comparison or print its table."""
    options = parse(arguments)
    if options.table is not None:
        print_table(json.loads(options.table.read_text()))
        return 0
    rows = compare(options)
    if options.out is not None:
        before = json.loads(options.out.read_text()) if options.out.exists() else []
        options.out.write_text(json.dumps([*before, *rows], indent=1))
    print_table(rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
