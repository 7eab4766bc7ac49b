"""Explores features in the engine's child, with one model or with two after each other."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from psygnal import Signal

from napari_gemini.engine.events import Event, LogEvent, NoticeEvent, ProgressEvent
from napari_gemini.engine.jobs import ClusterMapJob, ExploreJob, make_job
from napari_gemini.errors import EngineError, GeminiError
from napari_gemini.widgets.common.engine import JobHandle
from napari_gemini.widgets.common.session import Session
from napari_gemini.widgets.features.exploration import Exploration, from_notice, take
from napari_gemini.widgets.pair.inputs import Source, label_file, scan_file


@dataclass(frozen=True)
class Wanted:
    """What is to be explored.

    Attributes
    ----------
    scan, scan2
        One scan, or two together.
    labels, labels2
        Of the scans, or None.
    models
        One, or two to compare.
    options
        Of the job: ``samples``, ``seed``, ``perplexity``, ``clusters``, ``foreground``.
    """

    scan: Source
    scan2: Source | None
    labels: Source | None
    labels2: Source | None
    models: tuple[str | None, ...]
    options: dict[str, Any]


class ExploreRunner:
    """Runs explorations of one session.

    Parameters
    ----------
    session
        Whose engine is used.
    """

    #: (which model, exploration): the voxels were drawn, or their layout or clusters are new.
    sampled = Signal(int, object)
    laid_out = Signal(int, object)
    #: (which model, exploration): all is known of it.
    completed = Signal(int, object)
    #: (done, total, words)
    progressed = Signal(int, int, str)
    #: Everything ended well; failed with a sentence; stopped.
    finished = Signal()
    failed = Signal(str)
    stopped = Signal()
    #: (exploration, labels of each scan in file order)
    mapped = Signal(object, list)

    def __init__(self, session: Session) -> None:
        self._session = session
        self._handle: JobHandle | None = None
        self._folder: Path | None = None
        self._current: Exploration | None = None
        self._jobs: list[ExploreJob] = []
        self._cases: tuple[str | None, ...] = ()
        #: The job that made each exploration.
        self._made: dict[int, ExploreJob] = {}

    @property
    def busy(self) -> bool:
        """Whether something runs."""
        return self._handle is not None and self._handle.active

    def start(self, wanted: Wanted) -> None:
        """Explore.

        Raises
        ------
        GeminiError
            If a scan is gone, an option is wrong, or the child cannot start.
        """
        if self.busy:
            raise EngineError("An exploration runs already; stop it first.")
        self._jobs = self._jobs_of(wanted)
        scans = (wanted.scan, wanted.scan2)
        self._cases = tuple(scan.case for scan in scans if scan is not None)
        self._made = {}
        self._run(0)

    def _jobs_of(self, wanted: Wanted) -> list[ExploreJob]:
        study = self._session.study
        self._remove_folder()
        self._folder = Path(tempfile.mkdtemp(prefix="napari-gemini-features-"))
        inputs: dict[str, Any] = {"image": scan_file(wanted.scan, study, self._folder, "first")}
        if wanted.labels is not None:
            inputs["labels"] = label_file(wanted.labels, wanted.scan, study, self._folder, "first")
        if wanted.scan2 is not None:
            inputs["image2"] = scan_file(wanted.scan2, study, self._folder, "second")
            if wanted.labels2 is not None:
                inputs["labels2"] = label_file(
                    wanted.labels2, wanted.scan2, study, self._folder, "second"
                )
        device = self._session.preferences.device
        return [
            make_job(ExploreJob, **inputs, model=model, device=device, **wanted.options)
            for model in wanted.models
        ]

    def _run(self, which: int) -> None:
        job = self._jobs[which]
        self._current = None

        def event(event: Event) -> None:
            self._on_event(which, event)

        def result(values: dict[str, Any]) -> None:
            self._on_result(which, values)

        self._handle = self._session.engine.run(
            job,
            description="Exploring features",
            on_event=event,
            on_result=result,
            on_error=self._on_error,
            on_cancelled=self._on_cancelled,
        )

    def _on_event(self, which: int, event: Event) -> None:
        arrays = self._session.engine.arrays
        if isinstance(event, ProgressEvent):
            self.progressed.emit(event.done, event.total, event.message)
        elif isinstance(event, LogEvent):
            self.progressed.emit(0, 0, event.message)
        elif isinstance(event, NoticeEvent) and event.name == "sample":
            self._current = from_notice(event.payload, arrays)
            self._current.cases = self._cases
            self.sampled.emit(which, self._current)
        elif isinstance(event, NoticeEvent) and event.name == "layout":
            coordinates = take(event.payload["coordinates"], arrays)
            if self._current is not None:
                self._current.coordinates = coordinates
                self.laid_out.emit(which, self._current)

    def _on_result(self, which: int, values: dict[str, Any]) -> None:
        found, arrays = self._current, self._session.engine.arrays
        assert found is not None
        found.coordinates = take(values["coordinates"], arrays)
        found.kmeans = take(values["kmeans"], arrays)
        found.hdbscan = take(values["hdbscan"], arrays)
        found.scores = values["scores"]
        found.facts |= {"seconds": values["seconds"]}
        self._made[id(found)] = self._jobs[which]
        self._handle = None
        self.completed.emit(which, found)
        if which + 1 < len(self._jobs):
            try:
                self._run(which + 1)
            except GeminiError as error:
                self._on_error(str(error))
            return
        self.finished.emit()

    def _on_error(self, sentence: str) -> None:
        self._handle = None
        self.failed.emit(sentence)

    def _on_cancelled(self) -> None:
        self._handle = None
        self.stopped.emit()

    def map_clusters(self, found: Exploration, clusters: NDArray[np.int64]) -> None:
        """Give every voxel of the scans a cluster: that of the nearest drawn voxel.

        Raises
        ------
        GeminiError
            If something runs already, or the child cannot start.
        """
        job = self._made.get(id(found))
        if self.busy or job is None:
            raise EngineError("Wait until the exploration is complete, or start one first.")
        engine = self._session.engine
        # The exchange is there as soon as the child was started once.
        engine.client.start()
        refs = {
            "image_number": engine.arrays.put(found.image),
            "index": engine.arrays.put(found.index),
            "cluster": engine.arrays.put(clusters),
        }
        options = {k: getattr(job, k) for k in ("image", "image2", "model", "spacing", "device")}

        def let_go() -> None:
            self._handle = None
            for ref in refs.values():
                engine.arrays.discard(ref)

        def result(values: dict[str, Any]) -> None:
            let_go()
            self.mapped.emit(found, [take(ref, engine.arrays) for ref in values["maps"]])
            self.finished.emit()

        def error(sentence: str) -> None:
            let_go()
            self.failed.emit(sentence)

        def cancelled() -> None:
            let_go()
            self.stopped.emit()

        self._handle = engine.run(
            make_job(ClusterMapJob, **options, **refs),
            description="Giving every voxel a cluster",
            on_event=lambda event: self._on_event(0, event),
            on_result=result,
            on_error=error,
            on_cancelled=cancelled,
        )

    def stop(self) -> None:
        """Ask what runs to stop; models that wait are not started."""
        if self._handle is not None:
            self._handle.cancel()

    def _remove_folder(self) -> None:
        folder, self._folder = self._folder, None
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)

    def tear_down(self) -> None:
        """Stop, and remove temporary files; called once or more."""
        self.stop()
        self._remove_folder()
