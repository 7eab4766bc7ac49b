"""The present prediction of a training on one scan is what predicting writes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from napari_gemini.engine.arrays import exchange
from napari_gemini.engine.dispatch import run_job
from napari_gemini.engine.jobs import PredictJob, PreviewJob, TrainJob
from napari_gemini.errors import InputError, ModelError
from napari_gemini.phantom.cohort import make_cohort
from napari_gemini.phantom.files import write_cohort
from napari_gemini.progress import SilentReporter
from napari_gemini.settings import NetworkSettings, TrainSettings
from napari_gemini.study.study import Study
from napari_gemini.volumes.reading import read_labels

SETTINGS = TrainSettings(
    preset=None,
    steps=4,
    checkpoint_every=2,
    validate_every=2,
    threads=1,
    network=NetworkSettings(dimension=2, base_width=4),
)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """A study of 2D phantoms with a run of four steps."""
    folder = tmp_path_factory.mktemp("preview")
    cohort = write_cohort(folder / "cohort", make_cohort(5, 2, (48, 48), seed=1), labelled=2)
    made = Study.create(
        folder / "study", [cohort / "images"], cohort / "labels", cohort / "split.json", "seed0"
    )
    run_job(TrainJob(study=made.folder, run="first", settings=SETTINGS), SilentReporter())
    return made


def preview(study: Study, case: str, **options: str) -> dict:
    model = options.get("model", str(study.run_dir("first")))
    return run_job(
        PreviewJob(study=study.folder, case=case, model=model, device="cpu"), SilentReporter()
    )


def test_a_preview_is_what_predicting_writes(study: Study) -> None:
    case = next(c.id for c in study.cases if c.role == "unlabelled")
    values = preview(study, case)
    assert values["step"] in (2, 4)
    assert values["dice"] == {}
    shown = exchange().open(values["array"])
    run_job(
        PredictJob(model=str(study.run_dir("first")), study=study.folder, device="cpu"),
        SilentReporter(),
    )
    written = read_labels(study.prediction_path("first", case)).data
    assert np.array_equal(shown, written)


def test_a_labelled_case_gets_its_dice(study: Study) -> None:
    case = study.cases_with("labelled", labels=True)[0].id
    dice = preview(study, case)["dice"]
    assert set(dice) >= {str(value) for value in study.scheme.values}
    assert all(score is None or 0 <= score <= 1 for score in dice.values())


def test_what_cannot_be_previewed_is_a_sentence(study: Study, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no case"):
        preview(study, "nobody")
    with pytest.raises(ModelError, match="no model"):
        preview(study, study.cases[0].id, model="nothing")
    cohort = write_cohort(tmp_path / "c", make_cohort(3, 2, (32, 32), seed=2), labelled=1)
    other = Study.create(tmp_path / "study", [cohort / "images"], cohort / "labels")
    with pytest.raises(ModelError, match="another grid"):
        preview(other, other.cases[0].id, model=str(study.run_dir("first")))
