"""First drafts: labels of one case carried to another, and which case to label next."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_gemini.engine.jobs import CorrespondJob, NextCaseJob
from napari_gemini.errors import GeminiError, StudyError
from napari_gemini.study.study import Study
from napari_gemini.volumes.atomic import explain_write_error
from napari_gemini.volumes.reading import read_labels
from napari_gemini.volumes.writing import write_volume
from napari_gemini.widgets.common.models import NO_MODEL, ModelChoice
from napari_gemini.widgets.common.threads import in_thread
from napari_gemini.widgets.study.copies import put_labels
from napari_gemini.widgets.study.talk import Offer

if TYPE_CHECKING:
    from napari_gemini.engine.events import Event
    from napari_gemini.widgets.common.engine import JobHandle
    from napari_gemini.widgets.study.labelling import Labelling

OnEvent = Callable[["Event"], None]

#: Folder of a study that holds drafts, each a folder of results like any pair's.
FOLDER = "drafts"


def sources(study: Study, target: str | None = None) -> list[str]:
    """Return the cases that labels can be carried over from: finished ones first."""
    cases = [c for c in study.cases if c.id != target and c.role != "test"]
    labelled = [case for case in cases if study.has_labels(case.id)]
    return [case.id for case in sorted(labelled, key=lambda case: case.status != "done")]


def start_draft(
    labelling: Labelling,
    source: str,
    model: ModelChoice,
    done: Callable[[], None],
    on_event: OnEvent | None = None,
) -> JobHandle:
    """Carry the labels of a case to the shown one; they come as one step that undo takes back.

    Parameters
    ----------
    labelling
        Of the session.
    source
        A case with labels.
    model
        What finds the correspondence.
    done
        Called once when it has ended, however it did.
    on_event
        Hears the job's progress.

    Raises
    ------
    GeminiError
        If the shown case is locked, or the drafts' folder cannot be written.
    """
    view = labelling.editable()
    study, target = labelling.study, view.case
    if not study.has_labels(source):
        raise StudyError(f"{source} has no labels to carry over: choose another case.")
    labelling.save_all()
    labels, out = study.labels_path(source), study.folder / FOLDER / f"{source}__{target}"
    # Of labels that may overlap, the one that is painted.
    value = None if labelling.masks is None else labelling.masks.value
    if value is not None:
        name = study.mask_name(value)
        labels /= f"{name}{study.case(source).label_suffix}"
        out = out.with_name(f"{out.name}__{name}")
    job = CorrespondJob(
        moving=_plain_image(study, source),
        fixed=_plain_image(study, target),
        labels=labels,
        out=out,
        model=model.spec,
        device=labelling.session.preferences.device,
    )

    def arrived(values: dict[str, Any]) -> None:
        done()
        how = _how(values, model)
        labelling.talk.attempt(
            lambda: _offer_draft(labelling, study, (source, target, value), out, how)
        )

    def failed(sentence: str) -> None:
        done()
        labelling.talk.tell("error", sentence)

    return labelling.session.engine.run(
        job,
        description=f"Carrying labels from {source} to {target}",
        on_event=on_event,
        on_result=arrived,
        on_error=failed,
        on_cancelled=done,
    )


def _how(values: dict[str, Any], model: ModelChoice) -> str:
    """Say by what the labels were carried over; the report knows what served."""
    served = str(values.get("model", model.spec))
    if served == NO_MODEL:
        return "refinement on the images alone, without a model"
    return f"the model {Path(served).name}"


def _offer_draft(
    labelling: Labelling, study: Study, route: tuple[str, str, int | None], out: Path, how: str
) -> None:
    """Put a draft on its case, or wait until that case is shown again."""
    source, target, value = route
    what = f"the draft from {source} by {how}"

    def read(put: Callable[[Any], None]) -> None:
        in_thread(
            lambda: read_labels(draft_file(out)).data,
            "Reading the draft",
            put,
            lambda sentence: labelling.talk.tell("error", sentence),
        )

    def put(labels: Any) -> None:
        if labelling.session.study is study and labelling.view is not None:
            if value is not None:
                labelling.select_label(value)
            labelling.talk.attempt(
                lambda: put_labels(labelling, np.asarray(labels), f"{source} by {how}", what)
            )

    if labelling.session.study is not study:
        return
    if labelling.view is not None and labelling.view.case == target:
        read(put)
        return

    def show() -> None:
        labelling.talk.withdraw("draft")
        labelling.when_shown(target, lambda: read(put))

    actions = ((f"Show {target}", show), ("Leave", lambda: labelling.talk.withdraw("draft")))
    labelling.talk.offer("draft", Offer(f"For {target} {what} is ready.", actions))


def draft_file(folder: Path) -> Path:
    """Return the label map among the results of a pair.

    Raises
    ------
    StudyError
        If there is none.
    """
    for suffix in (".nii.gz", ".png"):
        path = folder / f"labels{suffix}"
        if path.is_file():
            return path
    raise StudyError(f"{folder} holds no labels: propagate again.")


def _plain_image(study: Study, case_id: str) -> Path:
    """Return a file with just the image of a case: one volume of a 4D file gets its own."""
    case, path = study.case(case_id), study.image_path(case_id)
    if case.volume_index is None:
        return path
    folder = study.folder / FOLDER / "volumes"
    single = folder / f"{case_id}.nii.gz"
    if not single.is_file() or single.stat().st_mtime < path.stat().st_mtime:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise explain_write_error(error, folder) from error
        image = study.load_image(case_id)
        write_volume(single, image.data, image)
    return single


def start_suggestion(
    labelling: Labelling,
    model: ModelChoice,
    done: Callable[[], None],
    on_event: OnEvent | None = None,
) -> JobHandle:
    """Ask which case to label next; the answer is offered with its reason.

    Parameters
    ----------
    labelling
        Of the session.
    model
        Whose features compare the cases; without one their images do.
    done
        Called once when it has ended, however it did.
    on_event
        Hears the job's progress.

    Raises
    ------
    GeminiError
        If the labels shown cannot be saved, or the engine cannot be started.
    """
    labelling.save_all()
    study = labelling.study

    def arrived(values: dict[str, Any]) -> None:
        done()
        if labelling.session.study is not study:
            return
        case = str(values["case"])

        def show() -> None:
            labelling.talk.withdraw("next")
            labelling.talk.attempt(lambda: labelling.show(case))

        actions = ((f"Show {case}", show), ("Dismiss", lambda: labelling.talk.withdraw("next")))
        labelling.talk.offer("next", Offer(str(values["reason"]), actions))

    def failed(sentence: str) -> None:
        done()
        labelling.talk.tell("error", sentence)

    try:
        return labelling.session.engine.run(
            NextCaseJob(
                study=study.folder, model=model.spec, device=labelling.session.preferences.device
            ),
            description="Looking for the next case to label",
            on_event=on_event,
            on_result=arrived,
            on_error=failed,
            on_cancelled=done,
        )
    except GeminiError:
        done()
        raise
