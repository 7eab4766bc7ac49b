"""The runs of a study as a window sees them: a list, and one that is followed closely.

Nothing here touches Qt; a worker's thread reads, the GUI thread shows.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from napari_gemini.engine.events import (
    FINAL_EVENTS,
    CancelledEvent,
    ErrorEvent,
    Event,
    LogEvent,
    NoticeEvent,
    ProgressEvent,
    ResultEvent,
    StartedEvent,
)
from napari_gemini.engine.launch import run_state
from napari_gemini.engine.run_folder import RunFolder, RunState

#: Message of the progress that counts steps; reading scans has others.
TRAINING = "training"


@dataclass(frozen=True)
class RunInfo:
    """One line of the list of runs."""

    name: str
    state: RunState
    has_model: bool

    @property
    def text(self) -> str:
        """What the list shows."""
        return f"{self.name} ({self.state})"


def list_runs(runs_dir: Path) -> list[RunInfo]:
    """Return the runs of a study, those that run first, then the newest first."""
    try:
        folders = [RunFolder(path) for path in runs_dir.iterdir() if path.is_dir()]
    except OSError:
        return []
    # A folder that was locked a moment ago has no config.json yet.
    begun = [folder for folder in folders if folder.exists or folder.owner() is not None]
    begun.sort(key=_age, reverse=True)
    infos = [RunInfo(f.name, run_state(f), has_model(f.path)) for f in begun]
    return sorted(infos, key=lambda info: info.state != "running")


def has_model(run: Path) -> bool:
    """Say whether a run has a checkpoint to use."""
    return any((run / name).is_file() for name in ("best.json", "last.json"))


def _age(folder: RunFolder) -> float:
    for path in (folder.events_path, folder.path):
        try:
            return path.stat().st_mtime
        except OSError:
            continue
    return 0.0


@dataclass
class Series:
    """One curve: values at steps."""

    steps: list[int] = field(default_factory=list)
    values: list[float] = field(default_factory=list)

    def add(self, step: int, value: float) -> None:
        """Add a point; a resumed run goes back, and what it repeats replaces what was."""
        while self.steps and self.steps[-1] >= step:
            self.steps.pop()
            self.values.pop()
        self.steps.append(step)
        self.values.append(value)


@dataclass
class RunProgress:
    """Everything that a window shows of one run.

    Attributes
    ----------
    state
        Of the run.
    step, steps
        Done and wanted.
    remaining
        Seconds left, None while unknown.
    words
        What it does now, or how it ended.
    losses
        Curve of each term, in the order in which they appeared.
    score
        Curve of the validation, 1 is best.
    score_title
        What is scored.
    checkpoint
        Folder of the newest checkpoint.
    error
        How it failed, None where it did not.
    warnings
        Sentences of the log.
    held_back
        Cases that are kept for validation.
    """

    state: RunState = "new"
    step: int = 0
    steps: int = 0
    remaining: float | None = None
    words: str = ""
    losses: dict[str, Series] = field(default_factory=dict)
    score: Series = field(default_factory=Series)
    score_title: str = ""
    checkpoint: Path | None = None
    error: ErrorEvent | None = None
    warnings: list[str] = field(default_factory=list)
    held_back: list[str] = field(default_factory=list)


class RunFollower:
    """Reads what a run wrote since it was last asked; any process may do the training.

    Parameters
    ----------
    folder
        Of the run.
    """

    def __init__(self, folder: RunFolder) -> None:
        self.folder = folder
        self.progress = RunProgress()
        self._tail = folder.tail()
        self._ended: RunState | None = None

    def read(self) -> bool:
        """Take in what is new; True where anything changed."""
        # Asked before reading: what is written before the end is then read below.
        owner = self.folder.owner()
        events = self._tail.read()
        for event in events:
            self._take(event)
        if owner is not None:
            state: RunState = "running"
        else:
            state = self._ended or ("interrupted" if self.folder.events_path.exists() else "new")
        changed = bool(events) or state != self.progress.state
        self.progress.state = state
        if changed:
            self._name_checkpoint()
        return changed

    def _take(self, event: Event) -> None:
        seen = self.progress
        if isinstance(event, StartedEvent):
            self._ended, seen.error, seen.words = None, None, "Starting"
            seen.remaining = None
        elif isinstance(event, ProgressEvent):
            self._take_progress(event)
        elif isinstance(event, NoticeEvent):
            self._take_notice(event)
        elif isinstance(event, LogEvent):
            if event.level in ("warning", "error"):
                seen.warnings.append(event.message)
            elif event.level == "info":
                seen.words = event.message
        elif isinstance(event, FINAL_EVENTS):
            self._take_end(event)

    def _take_progress(self, event: ProgressEvent) -> None:
        seen = self.progress
        seen.words = event.message
        if event.message != TRAINING:
            seen.remaining = None
            return
        seen.step, seen.steps, seen.remaining = event.done, event.total, event.remaining
        for name, value in event.values.items():
            if value is not None:
                seen.losses.setdefault(name, Series()).add(event.done, value)

    def _take_notice(self, event: NoticeEvent) -> None:
        seen, payload = self.progress, event.payload
        if event.name == "validation" and payload.get("score") is not None:
            seen.score.add(int(payload["step"]), float(payload["score"]))
            seen.score_title = str(payload.get("title", ""))
        elif event.name == "checkpoint" and "step" in payload:
            seen.step = max(seen.step, int(payload["step"]))

    def _take_end(self, event: Event) -> None:
        seen = self.progress
        seen.remaining = None
        if isinstance(event, ErrorEvent):
            self._ended, seen.error, seen.words = "failed", event, event.message
        elif isinstance(event, CancelledEvent):
            self._ended = "stopped"
            seen.words = "Killed" if event.killed else "Stopped"
        elif isinstance(event, ResultEvent):
            self._ended, seen.words = "finished", "Finished"
        if isinstance(event, CancelledEvent | ResultEvent) and "step" in event.values:
            seen.step = int(event.values["step"])
            seen.steps = int(event.values.get("steps", seen.steps))

    def _name_checkpoint(self) -> None:
        # By the folder and not by the event, so that a study that was moved is found.
        try:
            names = [p for p in self.folder.checkpoints_path.iterdir() if p.name.isdigit()]
        except OSError:
            names = []
        self.progress.checkpoint = max(names, key=lambda path: path.name, default=None)


def held_back_cases(folder: RunFolder) -> list[str]:
    """Return the cases that a run keeps for validation; empty while it is not known."""
    from napari_gemini.errors import GeminiError

    try:
        held = folder.read_config().get("held_back", [])
    except GeminiError:
        return []
    return [str(name) for name in held] if isinstance(held, list) else []
