"""The demo: the main job on a phantom cohort, from labels for five scans to a report.

Everything goes through the same jobs as the commands, so what it leaves behind is a study, two
runs, predictions and a pair like any other.
"""

from __future__ import annotations

import json
import shutil
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np

from napari_gemini.engine.device import select_device
from napari_gemini.engine.dispatch import run_job
from napari_gemini.engine.jobs import CorrespondJob, EvaluateJob, PredictJob, TrainJob
from napari_gemini.engine.tasks.demo_pace import affordable_steps
from napari_gemini.engine.tasks.demo_settings import demo_settings
from napari_gemini.engine.tasks.serving import shipped_model
from napari_gemini.errors import InputError
from napari_gemini.evaluation.comparison import side_by_side
from napari_gemini.evaluation.run_report import write_run_report
from napari_gemini.evaluation.tables import Tile
from napari_gemini.phantom.cohort import make_cohort
from napari_gemini.phantom.files import write_cohort
from napari_gemini.phantom.truth import Truth, read_truth
from napari_gemini.progress import Reporter, stop_if_cancelled
from napari_gemini.study.study import Study
from napari_gemini.volumes.atomic import write_json_atomic
from napari_gemini.volumes.fields import map_points, read_field

MARKER = "demo.json"
METHOD, BASELINE = "gemini-semi", "five-label-unet"
TITLES = {METHOD: "GEMINI-Semi", BASELINE: "five-label U-Net"}
_STAGES = 8


@dataclass(frozen=True)
class DemoPlan:
    """What the demo does.

    Attributes
    ----------
    out
        Its folder; that of an earlier demo is replaced.
    dimension
        2 or 3.
    device
        Where to compute.
    scans, test
        Size of the cohort and how many of its scans are never trained on.
    steps
        Segmentation updates of both trainings; None for what the demo was tuned to.
    refine
        Refinement steps of the pair.
    seed
        Of cohort and trainings.
    """

    out: Path
    dimension: Literal[2, 3] = 3
    device: str = "auto"
    scans: int = 20
    test: int = 8
    steps: int | None = None
    refine: int = 60
    seed: int = 0


class StageReporter:
    """Names the stage in front of what a job reports, without the numbers that a run keeps."""

    def __init__(self, reporter: Reporter, stage: int, title: str) -> None:
        self._reporter = reporter
        self._prefix = f"[{stage}/{_STAGES}] {title}"
        reporter.log(self._prefix)

    def progress(self, done: int, total: int, message: str = "", **values: float) -> None:
        """Pass on how far the stage is."""
        self._reporter.progress(done, total, self._prefix)

    def log(self, message: str, level: str = "info") -> None:
        """Pass on warnings; the rest is in the stage's own records."""
        self._reporter.log(f"  {message}", "debug" if level == "info" else level)

    def event(self, name: str, **payload: Any) -> None:
        """Pass on a notice."""
        self._reporter.event(name, **payload)

    def cancelled(self) -> bool:
        """Whether to stop."""
        return self._reporter.cancelled()


def run_demo(plan: DemoPlan, reporter: Reporter) -> dict[str, Any]:
    """Do the main job on a phantom cohort and measure it against the known truth.

    Parameters
    ----------
    plan
        What to do and where.
    reporter
        Hears about every stage and may stop the demo.

    Returns
    -------
    dict
        ``dice`` of both methods with the interval of their difference, ``tre`` before and after,
        ``shipped`` (the pair with the shipped model alone; None without one), ``fold_percent``,
        ``shows`` (the demo's three claims, true or not), ``report``, ``seconds``,
        ``cpu_seconds``; the same is in ``demo.json`` in the folder.

    Raises
    ------
    InputError
        If the folder holds something other than an earlier demo.
    Cancelled
        If the reporter asked to stop; what is finished stays.
    """
    started, cpu = time.monotonic(), time.process_time()
    prepare_folder(plan.out)
    study = make_study(plan, StageReporter(reporter, 1, "Making a cohort of phantom scans"))
    plan = with_affordable_steps(plan, study.grid.shape, reporter)
    scores = {}
    for number, run in ((2, METHOD), (4, BASELINE)):
        train(plan, study, run, StageReporter(reporter, number, f"Training {TITLES[run]}"))
        scores[run] = predict_and_score(
            plan, study, run, StageReporter(reporter, number + 1, f"Predicting with {TITLES[run]}")
        )
    stage = StageReporter(reporter, 6, "Correspondence of a pair")
    pair = correspond(plan, study, stage)
    name, _ = shipped_model(plan.dimension)
    stage = StageReporter(reporter, 7, f"The same pair with the shipped model: {name}")
    shipped = correspond_with_shipped(plan, study, stage)
    StageReporter(reporter, 8, "Writing the report")
    result = {**judge(plan, study, scores, pair), "shipped": shipped}
    result["report"] = str(write_report(plan, study, result))
    result["seconds"] = round(time.monotonic() - started, 1)
    result["cpu_seconds"] = round(time.process_time() - cpu, 1)
    write_json_atomic(plan.out / MARKER, result)
    return result


def prepare_folder(out: Path) -> None:
    """Make the folder empty; only an earlier demo is removed.

    Raises
    ------
    InputError
        If something else is there.
    """
    if out.is_dir() and any(out.iterdir()):
        if not is_demo(out):
            raise InputError(
                f"{out} holds something other than an earlier demo; give a new folder as --out."
            )
        if out.resolve() in (Path.cwd().resolve(), *Path.cwd().resolve().parents):
            raise InputError(f"{out} is the current folder or one above it; go elsewhere first.")
        shutil.rmtree(out)
    elif out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file; give a new folder as --out.")
    out.mkdir(parents=True, exist_ok=True)
    write_json_atomic(out / MARKER, {"kind": "demo", "finished": False})


def is_demo(folder: Path) -> bool:
    """Whether an earlier demo made a folder."""
    try:
        content = json.loads((folder / MARKER).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and content.get("kind") == "demo"


def make_study(plan: DemoPlan, reporter: Reporter) -> Study:
    """Make the cohort and a study of it in which five scans have labels."""
    shape = (32, 32, 32) if plan.dimension == 3 else (96, 96)
    cohort = make_cohort(plan.scans, plan.dimension, shape, plan.seed)
    stop_if_cancelled(reporter)
    folder = write_cohort(plan.out / "cohort", cohort, test=plan.test)
    stop_if_cancelled(reporter)
    return Study.create(
        plan.out / "study",
        [folder / "images"],
        labels_dir=folder / "labels",
        split=folder / "split.json",
        seed="seed0",
    )


def with_affordable_steps(plan: DemoPlan, shape: tuple[int, ...], reporter: Reporter) -> DemoPlan:
    """Return the plan with as many steps as this machine makes in some minutes."""
    if plan.steps is not None:
        return plan
    settings = demo_settings(plan.dimension, plan.seed)
    steps = affordable_steps(settings, shape, select_device(plan.device))
    if steps < settings.steps:
        reporter.log(
            f"This machine is slow: {steps} steps of training instead of {settings.steps}, so that "
            "the demo takes minutes."
        )
    return replace(plan, steps=steps)


def train(plan: DemoPlan, study: Study, run: str, reporter: Reporter) -> None:
    """Train one of the two methods; both see the same network, augmentation and steps."""
    settings = demo_settings(plan.dimension, plan.seed, plan.steps)
    if run == BASELINE:
        settings = settings.model_copy(update={"objective": "supervised"})
    job = TrainJob(study=study.folder, run=run, settings=settings, device=plan.device)
    result = run_job(job, reporter)
    if result["stopped"]:
        stop_if_cancelled(reporter)


def predict_and_score(plan: DemoPlan, study: Study, run: str, reporter: Reporter) -> dict[str, Any]:
    """Label every scan that has no labels and score it against the truth."""
    out = study.predictions_dir(run)
    job = PredictJob(model=str(study.run_dir(run)), study=study.folder, out=out, device=plan.device)
    run_job(job, reporter)
    truth = plan.out / "cohort" / "labels"
    scores = EvaluateJob(predictions=out, references=truth, out=plan.out / f"scores-{run}.json")
    return run_job(scores, reporter)


def pair_of(study: Study) -> tuple[str, str]:
    """Return the pair to show: the first labelled scan for the first test scan."""
    moving = next(case.id for case in study.cases if case.role == "labelled")
    fixed = next(case.id for case in study.cases if case.role == "test")
    return moving, fixed


def correspond(plan: DemoPlan, study: Study, reporter: Reporter) -> dict[str, Any]:
    """Find the correspondence of the pair with the trained model."""
    return _correspond(plan, study, "pair", str(study.run_dir(METHOD)), plan.refine, reporter)


def correspond_with_shipped(
    plan: DemoPlan, study: Study, reporter: Reporter
) -> dict[str, Any] | None:
    """Find it also with the shipped model, which has never seen the organ, where there is one."""
    name, folder = shipped_model(plan.dimension)
    if folder is None:
        return None
    pair = _correspond(plan, study, "pair-shipped", name, None, reporter)
    return {
        "model": name,
        "after": landmark_errors(plan, study, "pair-shipped")["after"],
        "pair_dice": pair.get("dice"),
        "fold_percent_digital": pair["fold_percent_digital"],
    }


def _correspond(
    plan: DemoPlan, study: Study, out: str, model: str, refine: int | None, reporter: Reporter
) -> dict[str, Any]:
    moving, fixed = pair_of(study)
    truth = plan.out / "cohort" / "labels"
    job = CorrespondJob(
        moving=study.image_path(moving),
        fixed=study.image_path(fixed),
        out=plan.out / out,
        model=model,
        labels=study.labels_path(moving),
        fixed_labels=truth / study.image_path(fixed).name,
        refine=refine,
        device=plan.device,
    )
    return run_job(job, reporter)


def judge(
    plan: DemoPlan, study: Study, scores: dict[str, dict[str, Any]], pair: dict[str, Any]
) -> dict[str, Any]:
    """Put together what was reached and whether it is what the demo promises."""
    compared = side_by_side(scores[METHOD], scores[BASELINE], names=(METHOD, BASELINE))
    dice = compared["metrics"]["dice"]["mean"]
    tre = landmark_errors(plan, study)
    folds = pair["fold_percent"], pair["fold_percent_digital"]
    return {
        "kind": "demo",
        "finished": True,
        "dimension": plan.dimension,
        "out": str(plan.out),
        "scans": len(study.cases),
        "predicted": compared["pairs"],
        "steps": demo_settings(plan.dimension, plan.seed, plan.steps).steps,
        "dice": {
            METHOD: dice["a"],
            BASELINE: dice["b"],
            **{key: dice[key] for key in ("difference", "low", "high", "better", "worse")},
        },
        "tre": tre,
        "pair": dict(zip(("moving", "fixed"), pair_of(study), strict=True)),
        "pair_dice": pair.get("dice"),
        "fold_percent": folds[0],
        "fold_percent_digital": folds[1],
        "shows": {
            "better_dice": dice["difference"] > 0,
            "tre_halved": tre["after"] <= tre["before"] / 2,
            "no_folds": folds == (0, 0),
        },
    }


def landmark_errors(plan: DemoPlan, study: Study, out: str = "pair") -> dict[str, Any]:
    """Measure the target registration error of the pair before and after correspondence.

    Before means: both scans laid over each other by their centres of mass. `out` is the folder of
    the result.
    """
    truth = read_truth(plan.out / "cohort")
    moving, fixed = pair_of(study)
    points = truth.landmarks(fixed).points
    places = [study.placement(case).matrix for case in (fixed, moving)]
    d = points.shape[1]
    rigid = places[1] @ np.linalg.inv(places[0])
    overlaid = points @ rigid[:d, :d].T + rigid[:d, 3]
    mapped = map_points(read_field(plan.out / out / "field.h5"), points)
    before, after = (
        _mean_error(truth, fixed, moving, end) for end in (overlaid, np.asarray(mapped))
    )
    return {
        "unit": "mm" if study.spacing_known else "px",
        "before": before,
        "after": after,
        "landmarks": int(np.isfinite(_errors(truth, fixed, moving, overlaid)).sum()),
    }


def _errors(truth: Truth, fixed: str, moving: str, points: np.ndarray) -> np.ndarray:
    return truth.target_registration_error(fixed, moving, points)


def _mean_error(truth: Truth, fixed: str, moving: str, points: np.ndarray) -> float:
    return round(float(np.nanmean(_errors(truth, fixed, moving, points))), 4)


def write_report(plan: DemoPlan, study: Study, result: dict[str, Any]) -> Path:
    """Write the page that shows what was learned, how good it is and how it compares."""
    tre, dice = result["tre"], result["dice"]
    return write_run_report(
        study.run_dir(METHOD),
        out=plan.out / "report.html",
        predictions=study.predictions_dir(METHOD),
        references=plan.out / "cohort" / "labels",
        scores=plan.out / f"scores-{METHOD}.json",
        comparisons={TITLES[BASELINE]: plan.out / f"scores-{BASELINE}.json"},
        highlights=[
            Tile(
                "Dice against the five-label U-Net",
                f"{dice[METHOD]:.3f} : {dice[BASELINE]:.3f}",
                f"the same steps; 95 % interval of the difference {interval_text(dice)}",
            ),
            Tile(
                "Landmark error of a pair",
                f"{tre['before']:.2f} → {tre['after']:.2f} {tre['unit']}",
                "distance of corresponding points, scans laid over each other and then matched",
            ),
            Tile(
                "Folds of that pair",
                f"{result['fold_percent_digital']:g} %",
                "share of voxels, by the digital criterion",
            ),
        ],
        links={"The pair in detail": plan.out / "pair" / "report.html"},
        name=TITLES[METHOD],
    )


def interval_text(dice: dict[str, Any]) -> str:
    """Return the 95 % interval of the difference of Dice as words."""
    if dice["low"] is None:
        return "unknown"
    return f"{dice['low']:+.3f} to {dice['high']:+.3f}"


def as_dimension(value: int) -> Literal[2, 3]:
    """Return 2 or 3 as its type."""
    return cast(Literal[2, 3], value)
