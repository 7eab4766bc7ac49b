"""Run one experiment and add its rows to a file, or print the tables of such a file.

    python -m benchmarks.evidence few-shot --data hearts --data-folder DATA --seed 0 --out FILE
    python -m benchmarks.evidence tables --out FILE

Settings whose row is in the file already are left out, so an interrupted run goes on. ``--smoke``
makes every run a few steps long, to see that it works.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.evidence import features, fields, labels
from benchmarks.evidence.data import NAMES, load
from benchmarks.evidence.labels import Jobs
from benchmarks.evidence.tables import print_tables, read_rows
from benchmarks.evidence.training import SCRATCH, SIZES, SMOKE, Bench
from napari_gemini.settings import PRETRAINING

EXPERIMENTS: dict[str, Callable[[Bench, list[str] | None], Jobs]] = {
    "few-shot": labels.few_shot,
    "frozen": labels.frozen,
    "quarter": labels.quarter,
    "tuning-course": labels.tuning_course,
    "clusters": features.clusters,
    "depth": features.depth,
    "pairing": features.pairing,
    "ablation": fields.ablation,
    "curve": fields.curve,
    "positive-pairs": fields.positive_pairs,
    "pretraining-share": labels.pretraining_share,
    "repeats": labels.repeats,
    "backbones": labels.backbones,
    "widths": labels.widths,
    "heads": labels.heads,
    "rates": labels.rates,
    "shortfall": labels.shortfall,
}
#: Attributes of :class:`.Sizes` that options change.
SIZE_OPTIONS = ("pretrain", "pretrain_rate", "tune")


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the options."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.evidence", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("experiment", choices=[*EXPERIMENTS, "tables"])
    parser.add_argument("--data", choices=NAMES, default="phantom")
    parser.add_argument("--data-folder", type=Path, help="holds heart2d, hippocampus and brain")
    parser.add_argument("--seed", type=int, default=0, choices=range(3))
    parser.add_argument("--objectives", nargs="+", choices=[SCRATCH, *PRETRAINING])
    parser.add_argument("--settings", nargs="+", help="only these settings of the experiment")
    parser.add_argument("--cache", type=Path, help="keeps pre-trained weights between runs")
    parser.add_argument("--out", type=Path, help="rows as JSON, one a line")
    parser.add_argument("--pretrain", type=int, metavar="STEPS", help="of a pre-training")
    parser.add_argument("--pretrain-rate", type=float, metavar="RATE", help="of a pre-training")
    parser.add_argument("--tune", type=int, metavar="STEPS", help="of a fine-tuning")
    parser.add_argument("--smoke", action="store_true", help="a few steps each")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run an experiment or print tables."""
    options = parse(arguments)
    rows = read_rows(options.out) if options.out is not None else []
    if options.experiment == "tables":
        print_tables(rows)
        return 0
    torch.set_num_threads(1)
    data = load(options.data, options.data_folder, smoke=options.smoke)
    sizes = SMOKE if options.smoke else SIZES[options.data]
    changed = {k: getattr(options, k) or getattr(sizes, k) for k in SIZE_OPTIONS}
    bench = Bench(data, dataclasses.replace(sizes, **changed), options.seed, options.cache)
    common = {"experiment": options.experiment, "data": options.data, "seed": options.seed}
    common |= changed
    done = {row["setting"] for row in rows if common.items() <= row.items()}
    for setting, job in EXPERIMENTS[options.experiment](bench, options.objectives).items():
        if setting in done or (options.settings and setting not in options.settings):
            continue
        began = time.process_time()
        values = job()
        seconds = time.process_time() - began
        row = common | {"setting": setting} | values | {"cpu_seconds": seconds}
        line = json.dumps(_rounded(row))
        print(line, flush=True)
        if options.out is not None:
            with options.out.open("a") as file:
                file.write(line + "\n")
    return 0


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 4)
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    return [_rounded(item) for item in value] if isinstance(value, list) else value


if __name__ == "__main__":
    sys.exit(main())
