"""The train dock: what to train with, how it goes, and what it predicts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QSize
from qtpy.QtWidgets import QGroupBox, QPushButton, QVBoxLayout, QWidget

from napari_gemini.engine.run_folder import RunFolder
from napari_gemini.errors import GeminiError
from napari_gemini.widgets.common.dock import Dock
from napari_gemini.widgets.review.question import QuestionBar
from napari_gemini.widgets.training.closing import CloseQuestion
from napari_gemini.widgets.training.predictions_panel import PredictionsPanel
from napari_gemini.widgets.training.run_panel import RunPanel
from napari_gemini.widgets.training.setup_panel import SetupPanel

if TYPE_CHECKING:
    import napari

    from napari_gemini.engine.jobs import TrainJob


#: Pixels of the dock as it opens.
_WIDTH = 440


class TrainDock(Dock):
    """Trains on the open study in a process that outlives the window.

    Parameters
    ----------
    viewer
        napari's viewer.
    """

    def __init__(self, viewer: napari.Viewer) -> None:
        super().__init__(viewer)
        self.setup = SetupPanel(self.session, self.say)
        self.start_button = QPushButton("Start training", self)
        self.start_button.setToolTip(
            "Train in a process of its own: it goes on when this window is closed"
        )
        self.question = QuestionBar(self)
        self.run = RunPanel(self.session, self.say)
        self.predictions = PredictionsPanel(self.session, self.say)
        self._add("Set up", self.setup, self.start_button, self.question)
        self._running = self._add("Training", self.run)
        self._add("Predictions", self.predictions)
        self.body.addStretch(1)
        self.closing = CloseQuestion(self.run.running, self.window)
        self.start_button.clicked.connect(lambda: self.start())
        self.setup.on_ready = self._update
        self.run.device = lambda: self.setup.device.currentData() or "auto"
        self.run.on_out_of_memory = self._offer_smaller
        self.connections.connect(self.run.watch.progress_changed, self._on_progress)
        self.connections.connect(self.run.watch.looked, self._update)
        self.session.add_close_guard(self._may_close)
        self._update()
        self.setup.refresh()

    def _add(self, title: str, *widgets: QWidget) -> QWidget:
        box = QGroupBox(title, self)
        layout = QVBoxLayout(box)
        layout.setContentsMargins(6, 10, 6, 6)
        for widget in widgets:
            layout.addWidget(widget)
        self.body.addWidget(box)
        return box

    # -- start ---------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the training that is chosen; asks first when memory may not suffice."""
        try:
            job = self.setup.job()
            question = self.setup.memory_question()
        except GeminiError as error:
            self.say("error", str(error))
            return
        missing = [check for check in self.setup.checks if check.blocks]
        if missing:
            self.say("error", f"{missing[0].title}: {missing[0].words}")
            return
        if question:
            self.question.ask(question, [("Start", lambda: self._start(job))])
        else:
            self._start(job)

    def _start(self, job: TrainJob) -> None:
        self.messages.clear()
        self.run.start(job)
        self.bring_up(self._running)
        self._update()

    def _update(self) -> None:
        if not hasattr(self, "closing"):
            return  # while the dock is being made
        starting = self.run.starting
        self.start_button.setText("Starting ..." if starting else "Start training")
        self.start_button.setEnabled(self.setup.ready and not starting)

    def _offer_smaller(self, folder: RunFolder) -> None:
        """After a training that did not fit: the same with less, as one button."""
        try:
            settings = folder.read_job().settings
        except GeminiError:
            return
        if not self.setup.offer_smaller(settings):
            return

        def again() -> None:
            self.setup.form.value = settings
            if self.setup.use_smaller():
                self.start()

        self.question.ask(
            f"The memory did not suffice for {folder.name}.",
            [("Use a smaller setting and start", again)],
            cancel="Not now",
        )

    def _on_progress(self, seen: object) -> None:
        folder = self.run.folder
        progress = self.run.progress
        usable = progress is not None and progress.checkpoint is not None
        self.predictions.set_run(None if folder is None else folder.name, usable)

    # -- the end -------------------------------------------------------------------------------

    def _may_close(self) -> bool:
        return self.closing.may_close()

    def sizeHint(self) -> QSize:
        """Open wide enough for curves and the table of predictions."""
        return QSize(_WIDTH, super().sizeHint().height())

    def tear_down(self) -> None:
        """Let go of the viewer; a training goes on."""
        super().tear_down()
        self.session.remove_close_guard(self._may_close)
        self.closing.drop()
        self.setup.tear_down()
        self.run.tear_down()
        self.predictions.tear_down()
