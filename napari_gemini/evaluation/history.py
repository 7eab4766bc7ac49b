"""What a run said while it trained, read from ``events.jsonl`` as far as it can be read."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeGuard


@dataclass
class History:
    """Values over steps.

    Attributes
    ----------
    losses
        Name to step to value: what training reported.
    validation
        Title to step to value: scores on validation.
    skipped
        Lines that could not be read.
    warnings
        Warnings and errors of the log, in order, each once.
    seconds
        Time from the first to the last event, pauses left out.
    """

    losses: dict[str, dict[int, float]] = field(default_factory=dict)
    validation: dict[str, dict[int, float]] = field(default_factory=dict)
    skipped: int = 0
    warnings: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def last_step(self) -> int | None:
        """The last step that anything is known of."""
        series = [*self.losses.values(), *self.validation.values()]
        return max((max(values) for values in series if values), default=None)


#: A longer silence in the events means that the run was interrupted.
LONGEST_PAUSE = 600.0


def read_history(path: str | Path) -> History:
    """Read the events of a run.

    A run that was interrupted and resumed repeats the steps since its last checkpoint; the later
    values count. Half-written and foreign lines are counted and left out; a missing file gives an
    empty history.

    Parameters
    ----------
    path
        ``events.jsonl``, or the run folder that holds it.

    Returns
    -------
    History
        Series in order of steps.
    """
    file = Path(path)
    file = file / "events.jsonl" if file.is_dir() else file
    history = History()
    last_time: float | None = None
    for event in _events(file, history):
        _take(event, history)
        time = event.get("time")
        if _is_number(time):
            if last_time is not None and 0 < time - last_time < LONGEST_PAUSE:
                history.seconds += time - last_time
            last_time = time
    for series in (history.losses, history.validation):
        for name, values in series.items():
            series[name] = dict(sorted(values.items()))
    return history


def _events(path: Path, history: History) -> Iterator[dict[str, Any]]:
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return
    for line in lines:
        if not line.strip():
            continue
        try:
            event = json.loads(line)
        except ValueError:
            event = None
        if isinstance(event, dict):
            yield event
        else:
            history.skipped += 1


def _take(event: Mapping[str, Any], history: History) -> None:
    kind, payload = event.get("event"), event.get("payload")
    payload = payload if isinstance(payload, Mapping) else event
    if kind in ("progress", "step"):
        step = event.get("done", event.get("step"))
        values = event.get("values", event.get("losses"))
        if isinstance(values, Mapping) and _is_number(step):
            for name, value in values.items():
                _put(history.losses, str(name), int(step), value)
    elif "validation" in (kind, event.get("name")):
        step, score = payload.get("step"), payload.get("score", payload.get("value"))
        if _is_number(step):
            title = str(payload.get("title") or "validation score")
            _put(history.validation, title, int(step), score)
    elif kind in ("log", "error"):
        message = event.get("message")
        if event.get("level", kind) in ("warning", "error") and message not in history.warnings:
            history.warnings.append(str(message))


def _put(series: dict[str, dict[int, float]], name: str, step: int, value: Any) -> None:
    if not _is_number(value):
        return
    values = series.setdefault(name, {})
    if values and step <= next(reversed(values)):
        for later in [known for known in values if known >= step]:
            del values[later]
    values[step] = float(value)


def _is_number(value: Any) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
