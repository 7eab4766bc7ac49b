"""After a training: predict all cases, then accept or correct them one by one."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from qtpy.QtWidgets import (
    QHBoxLayout,
    QLabel,
    QProgressBar,
    QPushButton,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from napari_gemini.engine.eta import format_seconds
from napari_gemini.engine.events import Event, ProgressEvent
from napari_gemini.engine.jobs import PredictJob
from napari_gemini.errors import GeminiError
from napari_gemini.study.study import Study
from napari_gemini.widgets.common.messages import Level
from napari_gemini.widgets.review.items import Item, collect
from napari_gemini.widgets.review.panel import ReviewPanel

if TYPE_CHECKING:
    from napari_gemini.widgets.common.engine import JobHandle
    from napari_gemini.widgets.common.session import Session

Say = Callable[[Level, str], None]


class PredictionsPanel(QWidget):
    """Predicts with one run and shows its predictions, most doubtful first.

    Parameters
    ----------
    session
        Of the viewer.
    say
        Shows a sentence in the dock.
    """

    def __init__(self, session: Session, say: Say) -> None:
        super().__init__()
        self.session = session
        self._say = say
        self._run: str | None = None
        self._usable = False
        self._closed = False
        self._handle: JobHandle | None = None
        self.predict_button = QPushButton("Predict all", self)
        self.predict_button.setToolTip(
            "Label every case that has no labels of its own with the chosen run"
        )
        self.predict_button.clicked.connect(lambda: self.predict())
        self.cancel_button = QPushButton("Cancel", self)
        self.cancel_button.clicked.connect(lambda: self.cancel())
        self.cancel_button.hide()
        self.bar = QProgressBar(self)
        self.bar.hide()
        self.state = QLabel(self)
        self.state.setWordWrap(True)
        self.state.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Minimum)
        self.review = ReviewPanel(session, say, self._collect, one_source=True)
        self.review.table.items.modelReset.connect(self._tell_state)
        row = QHBoxLayout()
        row.addWidget(self.predict_button)
        row.addWidget(self.cancel_button)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(row)
        layout.addWidget(self.bar)
        layout.addWidget(self.state)
        layout.addWidget(self.review, 1)
        self._update()

    def set_run(self, run: str | None, usable: bool) -> None:
        """Show the predictions of another run.

        Parameters
        ----------
        run
            Its name; None without one.
        usable
            Whether it has a checkpoint to predict with.
        """
        changed = run != self._run
        self._run, self._usable = run, usable
        if changed:
            self.review.refresh()
        self._update()

    def _collect(self, study: Study) -> list[Item]:
        return [] if self._run is None else collect(study, run=self._run)

    @property
    def busy(self) -> bool:
        """Whether cases are being predicted."""
        return self._handle is not None

    def _update(self) -> None:
        self.predict_button.setEnabled(self._usable and not self.busy)
        self.predict_button.setText("Predicting ..." if self.busy else "Predict all")
        self.cancel_button.setVisible(self.busy)
        self.bar.setVisible(self.busy)
        # An empty table only takes room.
        self.review.setVisible(bool(self.review.items))
        self._tell_state()

    def _tell_state(self) -> None:
        items = self.review.items
        self.review.setVisible(bool(items))
        if self._run is None:
            self.state.setText("Train first; then all other cases can be predicted.")
        elif not items:
            self.state.setText(
                f"{self._run} has predicted nothing yet."
                if self._usable
                else f"{self._run} has no checkpoint to predict with yet."
            )
        else:
            judged = sum(item.review is not None for item in items)
            outliers = sum(item.outlier for item in items)
            self.state.setText(
                f"{len(items)} cases predicted by {self._run}; marked as outliers (▲): {outliers}, "
                f"with a verdict: {judged}."
            )

    # -- predicting ----------------------------------------------------------------------------

    def predict(self) -> None:
        """Predict every case of the study that has no labels of its own."""
        study, run = self.session.study, self._run
        if study is None or run is None or self.busy:
            return
        job = PredictJob(
            model=str(study.run_dir(run)),
            study=study.folder,
            out=study.predictions_dir(run),
            device=self.session.preferences.device,
        )
        self.bar.setMaximum(0)
        self.bar.setFormat("Reading the model")
        try:
            self._handle = self.session.engine.run(
                job,
                description=f"Predicting with {run}",
                on_event=self._hear,
                on_result=self._finished,
                on_error=lambda sentence: self._end("error", sentence),
                on_cancelled=lambda: self._end("info", "Stopped; what is predicted stays."),
            )
        except GeminiError as error:
            self._say("error", str(error))
        self._update()

    def cancel(self) -> None:
        """Stop after the present case."""
        if self._handle is not None:
            self._handle.cancel()
            self.cancel_button.setText("Stopping ...")
            self.cancel_button.setEnabled(False)

    def _hear(self, event: Event) -> None:
        if self._closed or not isinstance(event, ProgressEvent):
            return
        self.bar.setMaximum(max(event.total, 1))
        self.bar.setValue(event.done)
        left = "" if event.remaining is None else f", {format_seconds(event.remaining)} left"
        self.bar.setFormat(f"{event.done} of {event.total}{left}")

    def _finished(self, values: dict[str, Any]) -> None:
        failed = values.get("failed") or {}
        if failed:
            first = next(iter(failed.values()))
            self._end("warning", f"{len(failed)} cases could not be predicted: {first}")
        else:
            page = values.get("html")
            where = f" The report is {page}." if page else ""
            self._end("info", f"{len(values.get('cases', []))} cases are predicted.{where}")

    def _end(self, level: Level, sentence: str) -> None:
        self._handle = None
        if self._closed:
            return
        self.cancel_button.setText("Cancel")
        self.cancel_button.setEnabled(True)
        self._say(level, sentence)
        self.review.refresh()
        self._update()
        if level == "info":
            self.session.models_changed.emit()

    def tear_down(self) -> None:
        """Let go of the viewer; predicting ends with the engine's child."""
        self._closed = True
        if self._handle is not None:
            self._handle.cancel()
        self.review.tear_down()
