"""Asks the engine about probed voxels, one at a time; of many clicks the last counts."""

from __future__ import annotations

import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

from psygnal import Signal

from napari_gemini.engine.events import Event, LogEvent, ProgressEvent
from napari_gemini.engine.jobs import ProbeJob, make_job
from napari_gemini.errors import GeminiError
from napari_gemini.volumes.volume import Volume
from napari_gemini.volumes.writing import write_volume
from napari_gemini.widgets.common.engine import JobHandle
from napari_gemini.widgets.common.session import Session
from napari_gemini.widgets.pair.pair_data import PairData
from napari_gemini.widgets.probing.landmarks import Probe


class ProbeRunner:
    """Runs probes of one session.

    Parameters
    ----------
    session
        Whose engine and pair are used.
    """

    #: (probe, values of the job, seconds since the click)
    answered = Signal(object, dict, float)
    failed = Signal(str)
    stopped = Signal()
    #: What the job says while features are computed.
    progressed = Signal(str)
    #: Whether something runs.
    busy_changed = Signal(bool)

    def __init__(self, session: Session) -> None:
        self._session = session
        self._handle: JobHandle | None = None
        self._waiting: tuple[PairData, str | None, Probe, float] | None = None
        self._folder: Path | None = None
        self._written: dict[int, tuple[Volume, Path]] = {}

    @property
    def busy(self) -> bool:
        """Whether a probe runs."""
        return self._handle is not None and self._handle.active

    def ask(self, pair: PairData, model: str | None, probe: Probe) -> None:
        """Compare a probed voxel with the other scan; replaces a probe that still waits.

        Raises
        ------
        GeminiError
            If the child cannot start, or a scan has no file and none can be written.
        """
        self._waiting = (pair, model, probe, time.perf_counter())
        if not self.busy:
            self._start()

    def _start(self) -> None:
        if self._waiting is None:
            return
        (pair, model, probe, since), self._waiting = self._waiting, None
        partner = probe.partner.tolist()
        job = make_job(
            ProbeJob,
            fixed=self._file(pair.fixed, "fixed"),
            moving=self._file(pair.moving, "moving"),
            side=probe.side,
            point=probe.point.tolist(),
            partner=None if any(x != x for x in partner) else partner,
            model=model,
            device=self._session.preferences.device,
        )

        def result(values: dict[str, Any]) -> None:
            self._ended()
            self.answered.emit(probe, values, time.perf_counter() - since)
            self._next()

        def error(sentence: str) -> None:
            self._ended()
            self.failed.emit(sentence)
            self._next()

        def cancelled() -> None:
            self._ended()
            self.stopped.emit()
            self._next()

        self._handle = self._session.engine.run(
            job,
            description="Probing a voxel",
            on_event=self._on_event,
            on_result=result,
            on_error=error,
            on_cancelled=cancelled,
        )
        self.busy_changed.emit(True)

    def _next(self) -> None:
        try:
            self._start()
        except GeminiError as error:
            self.failed.emit(str(error))

    def _ended(self) -> None:
        self._handle = None
        self.busy_changed.emit(False)

    def _on_event(self, event: Event) -> None:
        if isinstance(event, ProgressEvent):
            self.progressed.emit(f"{event.message}...")
        elif isinstance(event, LogEvent):
            self.progressed.emit(event.message)

    def stop(self) -> None:
        """Ask the running probe to stop, and forget the one that waits."""
        self._waiting = None
        if self._handle is not None:
            self._handle.cancel()

    def _file(self, volume: Volume, role: str) -> Path:
        """Return the file of a scan; one that has none is written to a temporary folder."""
        if volume.path is not None and volume.path.exists():
            return volume.path
        known = self._written.get(id(volume))
        if known is not None:
            return known[1]
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="napari-gemini-probe-"))
        suffix = ".nii" if volume.spacing_known else ".tif"
        path = self._folder / f"{role}-{len(self._written)}{suffix}"
        write_volume(path, volume.data, volume)
        self._written[id(volume)] = (volume, path)
        return path

    def tear_down(self) -> None:
        """Stop, and remove temporary files; called once or more."""
        self.stop()
        self._written = {}
        folder, self._folder = self._folder, None
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)
