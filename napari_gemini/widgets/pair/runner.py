"""From what the user chose to a result on disk and then to a pair."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from psygnal import Signal
from qtpy.QtCore import QObject

from napari_gemini.engine.events import ErrorEvent, Event, LogEvent, ProgressEvent
from napari_gemini.engine.jobs import CorrespondJob, make_job
from napari_gemini.errors import GeminiError, InputError
from napari_gemini.study.study import Study
from napari_gemini.widgets.common.engine import JobHandle
from napari_gemini.widgets.common.session import Session
from napari_gemini.widgets.pair.background import in_background
from napari_gemini.widgets.pair.inputs import Source, label_file, name_of, scan_file
from napari_gemini.widgets.pair.loading import load_pair
from napari_gemini.widgets.pair.match_panel import Request

if TYPE_CHECKING:
    from napari_gemini.widgets.pair.pair_data import PairData

#: Folder of a study that holds its pairs.
PAIRS = "pairs"
_COARSER = 1.5
_MEMORY = "DeviceError"


@dataclass(frozen=True)
class _Prepared:
    job: CorrespondJob
    temporary: bool


def pairs_folder(study: Study) -> Path:
    """Return where a study keeps its pairs."""
    return study.folder / PAIRS


def known_results(study: Study | None) -> list[Path]:
    """Return the pairs of a study that were computed before, newest first."""
    if study is None:
        return []
    try:
        found = [entry for entry in pairs_folder(study).iterdir() if _is_result(entry)]
    except OSError:
        return []
    return sorted(found, key=lambda folder: folder.stat().st_mtime, reverse=True)


def _is_result(folder: Path) -> bool:
    return not folder.name.startswith(".") and (folder / "report.json").is_file()


def check_request(request: Request, study: Study | None) -> None:
    """Refuse what cannot be a pair, before anything is read.

    Raises
    ------
    InputError
        With one sentence.
    """
    if request.moving.key == request.fixed.key:
        raise InputError(
            f"{request.moving.name} is chosen twice; choose two different scans of one anatomy."
        )
    dimensions = [source.dimension(study) for source in (request.moving, request.fixed)]
    if None not in dimensions and dimensions[0] != dimensions[1]:
        raise InputError(
            f"{request.moving.name} is {dimensions[0]}D and {request.fixed.name} is "
            f"{dimensions[1]}D; choose two scans of one dimension."
        )


class PairRunner(QObject):
    """Computes pairs and opens results, one at a time.

    Parameters
    ----------
    session
        Its engine does the work.
    """

    #: A pair is ready to be looked at.
    ready = Signal(object)
    #: One sentence.
    failed = Signal(str)
    stopped = Signal()
    #: (done, total, words)
    progressed = Signal(int, int, str)
    #: The memory did not suffice; the request that needs less, and the unit of its grid.
    smaller = Signal(object, str)

    def __init__(self, session: Session, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._session = session
        self._handle: JobHandle | None = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._count = 0
        self._stopping = self._busy = False
        self._closed = False
        self._error_kind = ""

    @property
    def busy(self) -> bool:
        """Whether something is computed or read."""
        return self._busy

    def _scratch(self, what: str) -> Path:
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory(
                prefix="napari-gemini-pairs-", ignore_cleanup_errors=True
            )
        self._count += 1
        folder = Path(self._folder.name) / f"{what}-{self._count}"
        folder.mkdir()
        return folder

    # -- computing -----------------------------------------------------------------------------

    def start(self, request: Request) -> None:
        """Compute a pair; signals tell the rest.

        Raises
        ------
        InputError
            If the request cannot be a pair.
        """
        check_request(request, self._session.study)
        self._busy, self._stopping, self._error_kind = True, False, ""
        study = self._session.study
        inputs = self._scratch("inputs")
        keeps = study is not None and not self._session.read_only
        name = f"{name_of(request.fixed)}__{name_of(request.moving)}"
        if study is not None and keeps:
            out = pairs_folder(study) / name
        else:
            out = self._scratch("results") / name
        device = self._session.preferences.device

        def prepare() -> _Prepared:
            # Reads layers and changes nothing, so it may do so beside the GUI thread.
            job = prepare_job(request, study, inputs, out, device)
            return _Prepared(job, temporary=not keeps)

        self.progressed.emit(0, 0, "Reading the inputs")
        in_background(
            prepare, self._guarded(lambda found: self._submit(request, found)), self._fail
        )

    def _submit(self, request: Request, prepared: _Prepared) -> None:
        if self._stopping:
            self._end()
            self.stopped.emit()
            return
        try:
            self._handle = self._session.engine.run(
                prepared.job,
                description=f"Corresponding {request.moving.name} to {request.fixed.name}",
                on_event=self._hear,
                on_result=lambda values: self._read(Path(values["out"]), prepared.temporary),
                on_error=lambda sentence: self._on_job_error(request, sentence),
                on_cancelled=self._on_cancelled,
            )
        except GeminiError as error:
            self._fail(str(error))

    def _hear(self, event: Event) -> None:
        if self._closed:
            return
        if isinstance(event, ProgressEvent):
            left = "" if event.remaining is None else f", about {_duration(event.remaining)} left"
            self.progressed.emit(event.done, event.total, f"{event.message}{left}")
        elif isinstance(event, LogEvent) and event.level in ("info", "warning"):
            self.progressed.emit(0, 0, event.message)
        elif isinstance(event, ErrorEvent):
            self._error_kind = event.kind

    def _on_job_error(self, request: Request, sentence: str) -> None:
        kind = self._error_kind
        self._fail(sentence)
        if kind == _MEMORY and not self._closed:
            self._offer(request)

    def _offer(self, request: Request) -> None:
        """Work out, beside the GUI thread, a grid that needs less memory."""
        study = self._session.study

        def coarser() -> tuple[Request, str]:
            base, unit = finest_spacing(request.fixed, study)
            spacing = _COARSER * (request.spacing or base)
            return replace(request, spacing=float(f"{spacing:.3g}")), unit

        in_background(
            coarser,
            self._guarded(lambda found: self.smaller.emit(*found)),
            lambda sentence: None,
        )

    def stop(self) -> None:
        """Ask for a stop; what is on disk already stays."""
        self._stopping = True
        if self._handle is not None:
            self._handle.cancel()

    def _on_cancelled(self) -> None:
        self._end()
        if not self._closed:
            self.stopped.emit()

    # -- results -------------------------------------------------------------------------------

    def open_result(self, folder: Path) -> None:
        """Open a folder of results; signals tell the rest. Needs no torch."""
        self._busy, self._stopping = True, False
        self.progressed.emit(0, 0, f"Opening {folder.name}")
        self._read(folder, temporary=False)

    def _read(self, folder: Path, temporary: bool) -> None:
        if self._closed:
            return
        try:
            self._handle = load_pair(
                self._session.engine,
                folder,
                self._on_pair,
                self._fail,
                study=self._session.study,
                temporary=temporary,
            )
        except GeminiError as error:
            self._fail(str(error))

    def _on_pair(self, pair: PairData) -> None:
        self._end()
        if not self._closed:
            self.ready.emit(pair)

    def _fail(self, sentence: str) -> None:
        self._end()
        if not self._closed:
            self.failed.emit(sentence)

    def _end(self) -> None:
        self._busy, self._handle = False, None

    def _guarded(self, function: Callable[[Any], None]) -> Callable[[Any], None]:
        """Return `function`, made to do nothing once the dock has gone."""

        def call(value: Any) -> None:
            if not self._closed:
                function(value)

        return call

    def tear_down(self) -> None:
        """Stop what runs and remove temporary results."""
        self._closed = True
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None


def prepare_job(
    request: Request, study: Study | None, inputs: Path, out: Path, device: str
) -> CorrespondJob:
    """Make the job of a request; layers that are in no file are written into `inputs`.

    Raises
    ------
    GeminiError
        With one sentence for whatever cannot be used.
    """

    def labels(source: Source | None, scan: Source, role: str) -> Path | None:
        return None if source is None else label_file(source, scan, study, inputs, role)

    return make_job(
        CorrespondJob,
        moving=scan_file(request.moving, study, inputs, "moving"),
        fixed=scan_file(request.fixed, study, inputs, "fixed"),
        labels=labels(request.moving_labels, request.moving, "moving"),
        fixed_labels=labels(request.fixed_labels, request.fixed, "fixed"),
        ignore=labels(request.ignore, request.fixed, "ignore"),
        out=out,
        model=request.model,
        refine=request.refine,
        spacing=request.spacing,
        similarity=request.similarity,
        device=device,
        both=True,
    )


def finest_spacing(source: Source, study: Study | None) -> tuple[float, str]:
    """Return the finest spacing of a scan and its unit, one pixel where there is no such scan."""
    from napari_gemini.volumes.reading import read_volume
    from napari_gemini.widgets.pair.inputs import volume_of

    if source.case is not None and study is not None:
        volume = study.outline(source.case)
    elif source.path is not None:
        volume = read_volume(source.path)
    else:
        layer = None if source.layer is None else source.layer()
        if layer is None:
            return 1.0, "px"
        volume = volume_of(layer)
    return float(min(volume.spacing)), "mm" if volume.spacing_known else "px"


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{max(seconds, 0):.0f} s"
    return f"{seconds / 60:.0f} min"
