"""A run as it goes: step, time left, curves, the present prediction; stop and resume."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from qtpy.QtCore import QSignalBlocker
from qtpy.QtWidgets import (
    QComboBox,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QProgressBar,
    QPushButton,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from napari_gemini.engine.eta import format_seconds
from napari_gemini.engine.jobs import TrainJob
from napari_gemini.engine.launch import start_training, stop_run
from napari_gemini.engine.run_folder import RunFolder, RunState
from napari_gemini.errors import GeminiError
from napari_gemini.widgets.common.connections import Connections
from napari_gemini.widgets.common.messages import Level
from napari_gemini.widgets.pair.background import in_background
from napari_gemini.widgets.plots.curves import CurvesPlot
from napari_gemini.widgets.review.question import QuestionBar
from napari_gemini.widgets.training.preview_row import PreviewRow
from napari_gemini.widgets.training.runs import RunInfo, RunProgress
from napari_gemini.widgets.training.watch import RunWatch

if TYPE_CHECKING:
    from napari_gemini.widgets.common.session import Session

#: Seconds after which a run that was asked to stop may be killed.
STOP_PATIENCE = 20.0
_STATES: dict[RunState, str] = {
    "new": "not begun",
    "running": "running",
    "finished": "finished",
    "stopped": "stopped",
    "failed": "failed",
    "interrupted": "interrupted",
}
#: Names of the terms in ``events.jsonl`` -> what a reader calls them.
LOSSES = {
    "loss_correspondence": "correspondence",
    "loss_segmentation": "segmentation (weighted)",
    "segmentation": "segmentation",
    "gss": "1 - GSS",
    "gvs": "1 - GVS",
    "smooth": "smoothness",
}
#: Room for scores from 0 to 1: at the very ends the axis and the edge would hide their curve.
_SCORES = (-0.04, 1.06)
#: Sums of the others, on another scale.
_SUMS = ("loss_correspondence", "loss_segmentation")

Say = Callable[[Level, str], None]


class RunPanel(QWidget):
    """Follows one run of the open study.

    Parameters
    ----------
    session
        Of the viewer.
    say
        Shows a sentence in the dock.
    stop_patience
        Seconds after which killing is offered.
    """

    def __init__(self, session: Session, say: Say, stop_patience: float = STOP_PATIENCE) -> None:
        super().__init__()
        self.session = session
        self._say = say
        self.stop_patience = stop_patience
        self._closed = False
        self._starting = False
        self._stop_asked: float | None = None
        self._told_end: tuple[str, RunState] | None = None
        self._was_running: str | None = None
        self._had_model: set[str] = set()
        #: State of the followed run as it is shown, None without one.
        self.state: RunState | None = None
        #: Where a resumed run goes on.
        self.device: Callable[[], str] = lambda: session.preferences.device
        #: Called with the run when its memory did not suffice.
        self.on_out_of_memory: Callable[[RunFolder], None] = lambda folder: None
        self.connections = Connections()
        self.watch = RunWatch(self)
        self.preview = PreviewRow(session, say)
        self._make_widgets()
        self._lay_out()
        self.connections.connect(self.watch.runs_changed, self._on_runs)
        self.connections.connect(self.watch.progress_changed, self._on_progress)
        self.connections.connect(self.watch.looked, self._check_stop)
        self.connections.connect(session.study_changed, self._on_study)
        self._on_study()

    # -- widgets -------------------------------------------------------------------------------

    def _make_widgets(self) -> None:
        self.runs = QComboBox(self)
        self.runs.setToolTip("Runs of this study, also those that were started elsewhere")
        self.runs.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.runs.activated.connect(lambda _: self.watch.follow(self.runs.currentData()))
        self.stop_button = QPushButton("Stop", self)
        self.stop_button.setToolTip("End after the present step and keep a usable model")
        self.stop_button.clicked.connect(lambda: self.stop())
        self.resume_button = QPushButton("Resume", self)
        self.resume_button.setToolTip(
            "Go on from the newest checkpoint, exactly as if never stopped"
        )
        self.resume_button.clicked.connect(lambda: self.resume())
        self.question = QuestionBar(self)
        self.bar = QProgressBar(self)
        self.bar.setTextVisible(True)
        self.status = QLabel(self)
        self.status.setWordWrap(True)
        self.status.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Minimum)
        self.loss_plot = CurvesPlot("Losses", parent=self)
        self.score_plot = CurvesPlot("Validation", y_range=_SCORES, height=130, parent=self)

    def _lay_out(self) -> None:
        form = QFormLayout()
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        form.addRow("Run", self.runs)
        buttons = QHBoxLayout()
        buttons.addWidget(self.stop_button)
        buttons.addWidget(self.resume_button)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(form)
        layout.addWidget(self.bar)
        layout.addWidget(self.status)
        layout.addLayout(buttons)
        layout.addWidget(self.question)
        layout.addWidget(self.preview)
        layout.addWidget(self.loss_plot)
        layout.addWidget(self.score_plot)

    # -- which run -----------------------------------------------------------------------------

    def _on_study(self) -> None:
        study = self.session.study
        self._stop_asked = self._was_running = self._told_end = None
        self._had_model = set()
        self.question.clear()
        self.preview.clear()
        self.watch.watch(None if study is None else study.runs_dir)

    @property
    def folder(self) -> RunFolder | None:
        """Folder of the run that is followed."""
        return self.watch.folder

    @property
    def progress(self) -> RunProgress | None:
        """Of the run that is followed."""
        return self.watch.progress

    def running(self) -> list[RunFolder]:
        """Return the runs of the study that go on now, whoever started them."""
        study = self.session.study
        if study is None:
            return []
        folders = [RunFolder(study.runs_dir / info.name) for info in self.watch.runs]
        followed = self.folder
        if followed is not None and all(f.path != followed.path for f in folders):
            folders.append(followed)
        return [folder for folder in folders if folder.owner() is not None]

    def _on_runs(self, infos: list[RunInfo]) -> None:
        folder = self.folder
        with QSignalBlocker(self.runs):
            self.runs.clear()
            for info in infos:
                self.runs.addItem(f"{info.name}, {_STATES[info.state]}", info.name)
            if folder is not None:
                self.runs.setCurrentIndex(self.runs.findData(folder.name))
        usable = {info.name for info in infos if info.has_model}
        if usable != self._had_model:
            self._had_model = usable
            self.session.models_changed.emit()

    # -- how it goes ---------------------------------------------------------------------------

    def _on_progress(self, seen: RunProgress | None) -> None:
        folder = self.folder
        self.state = None if seen is None else seen.state
        if seen is None or folder is None:
            self._show_nothing()
            return
        with QSignalBlocker(self.runs):
            self.runs.setCurrentIndex(self.runs.findData(folder.name))
        self._show_numbers(seen)
        self._show_curves(seen)
        self._show_buttons(folder, seen.state)
        self.preview.follow(seen)
        self._tell_end(folder, seen)

    def _show_nothing(self) -> None:
        self.bar.setMaximum(1)
        self.bar.setValue(0)
        self.bar.setFormat("")
        self.status.setText("No training yet." if self.session.study is not None else "")
        self.loss_plot.clear()
        self.score_plot.clear()
        self.stop_button.setEnabled(False)
        self.stop_button.setText("Stop")
        self.resume_button.setEnabled(False)

    def _show_numbers(self, seen: RunProgress) -> None:
        self.bar.setMaximum(max(seen.steps, 1))
        self.bar.setValue(min(seen.step, max(seen.steps, 1)))
        self.bar.setFormat(f"step {seen.step} of {seen.steps}" if seen.steps else "")
        if seen.state == "running" and seen.remaining is not None:
            words = f"Training, about {format_seconds(seen.remaining)} left"
        elif seen.state == "running":
            words = seen.words[:1].upper() + seen.words[1:] or "Starting"
        elif seen.state == "interrupted":
            words = f"Interrupted at step {seen.step}: its process has ended without a word"
        elif seen.state == "failed":
            words = f"Failed: {seen.words}"
        else:
            words = _STATES[seen.state].capitalize()
        if seen.score.values:
            best = max(seen.score.values)
            words += f". Validation {seen.score.values[-1]:.3f}, best {best:.3f}"
        self.status.setText(f"{words.rstrip('.')}.")

    def _show_curves(self, seen: RunProgress) -> None:
        terms = {name: s for name, s in seen.losses.items() if name not in _SUMS}
        shown = terms or seen.losses
        self.loss_plot.set_curves(
            {LOSSES.get(name, name): (s.steps, s.values) for name, s in shown.items()}
        )
        title = seen.score_title or "Validation"
        self.score_plot.set_title(title[:1].upper() + title[1:])
        score = {"score": (seen.score.steps, seen.score.values)} if seen.score.steps else {}
        self.score_plot.set_curves(score)

    def _show_buttons(self, folder: RunFolder, state: RunState) -> None:
        running = state == "running"
        if not running:
            self._stop_asked = None
        stopping = running and (self._stop_asked is not None or folder.stop_requested())
        self.stop_button.setText("Stopping ..." if stopping else "Stop")
        self.stop_button.setEnabled(running and not stopping)
        can_resume = state in ("stopped", "failed", "interrupted") and folder.exists
        self.resume_button.setEnabled(can_resume and not self._starting)
        if not running and self.question.answers:
            self.question.clear()

    def _tell_end(self, folder: RunFolder, seen: RunProgress) -> None:
        """Say once how a run ended that was seen running."""
        if seen.state == "running":
            self._was_running = folder.name
            return
        if self._was_running != folder.name or seen.state == "new":
            return  # it was not seen running, or was not looked at yet
        self._was_running = None
        self.watch.look_again()
        self.session.models_changed.emit()
        at = f"step {seen.step} of {seen.steps}"
        if seen.state == "finished":
            self._say("info", f"The training {folder.name} is finished.")
        elif seen.state == "stopped":
            self._say(
                "info", f"The training {folder.name} has stopped at {at}; its model is usable."
            )
        elif seen.state == "failed" and seen.error is not None:
            self._say("error", seen.error.message)
            if seen.error.kind == "DeviceError" and "memory" in seen.error.message:
                self.on_out_of_memory(folder)
        else:
            self._say(
                "warning",
                f"The training {folder.name} ended without a word at {at}: it was killed, or the "
                "machine ran out of memory. Resume goes on from its newest checkpoint.",
            )

    # -- start, stop, resume -------------------------------------------------------------------

    def start(self, job: TrainJob) -> None:
        """Start a training in a process of its own, and follow it."""
        if self._starting:
            return
        self._set_starting(True)

        def started(folder: RunFolder) -> None:
            if self._closed:
                return
            self._set_starting(False)
            self._was_running = folder.name
            self._stop_asked = None
            self.watch.follow(folder.name)

        def failed(sentence: str) -> None:
            if not self._closed:
                self._set_starting(False)
                self._say("error", sentence)

        in_background(lambda: start_training(job), started, failed)

    def _set_starting(self, on: bool) -> None:
        self._starting = on
        self.resume_button.setText("Starting ..." if on else "Resume")
        if on:
            self.resume_button.setEnabled(False)

    @property
    def starting(self) -> bool:
        """Whether a training is being started."""
        return self._starting

    def resume(self) -> None:
        """Go on with the followed run."""
        study, folder = self.session.study, self.folder
        if study is None or folder is None:
            return
        device = self.device()
        try:
            # Its settings are those that it was started with.
            job = TrainJob(study=study.folder, run=folder.name, resume=True, device=device)
        except GeminiError as error:
            self._say("error", str(error))
            return
        self.start(job)

    def stop(self) -> None:
        """Ask the followed run to write a checkpoint and end."""
        folder = self.folder
        if folder is None:
            return
        try:
            folder.request_stop()
        except OSError as error:
            self._say("error", f"The run {folder.name} cannot be asked to stop ({error.strerror}).")
            return
        self._stop_asked = time.monotonic()
        self.stop_button.setText("Stopping ...")
        self.stop_button.setEnabled(False)

    def _check_stop(self) -> None:
        """Offer to kill a run that was asked to stop and has not."""
        asked, folder, seen = self._stop_asked, self.folder, self.progress
        if asked is None or folder is None or seen is None or seen.state != "running":
            return
        if time.monotonic() - asked > self.stop_patience:
            self._offer_kill(folder)

    def _offer_kill(self, folder: RunFolder) -> None:
        if self.question.answers:
            return
        self._stop_asked = time.monotonic()
        self.question.ask(
            f"{folder.name} has not stopped yet: it may be in a long step. Kill it? The checkpoint "
            "before stays usable.",
            [("Kill it", lambda: self.kill(folder))],
            cancel="Wait",
        )

    def kill(self, folder: RunFolder) -> None:
        """End a run now; its last checkpoint stays."""
        in_background(lambda: stop_run(folder, timeout=0), self._on_killed, self._on_kill_failed)

    def _on_killed(self, state: RunState) -> None:
        if not self._closed and state == "running":
            self._say(
                "warning",
                "The run could not be killed: it runs on another machine or for another user.",
            )

    def _on_kill_failed(self, sentence: str) -> None:
        if not self._closed:
            self._say("error", sentence)

    # -- the end -------------------------------------------------------------------------------

    def tear_down(self) -> None:
        """Let go; the training goes on."""
        if self._closed:
            return
        self._closed = True
        self.connections.drop()
        self.watch.close()
        self.preview.tear_down()
