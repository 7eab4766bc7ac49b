"""Time left, reporters and the terminal."""

from __future__ import annotations

import io
import threading

import pytest
from rich.console import Console

from napari_gemini.engine.console import ConsoleReporter
from napari_gemini.engine.eta import EtaEstimator, format_seconds
from napari_gemini.engine.events import ProgressEvent, parse_event
from napari_gemini.engine.reporting import (
    CancelReporter,
    EventReporter,
    JsonLinesReporter,
    PartReporter,
    TeeReporter,
)
from napari_gemini.progress import Cancelled, Reporter, SilentReporter, stop_if_cancelled
from tests.engine.helpers import Recorder


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_steady_work_is_extrapolated_exactly() -> None:
    clock = Clock()
    eta = EtaEstimator(clock)
    eta.update(0, 100)
    assert eta.remaining is None
    for done in range(1, 11):
        clock.now += 2.0
        eta.update(done, 100)
    assert eta.remaining == pytest.approx(180)
    assert eta.elapsed == pytest.approx(20)
    clock.now += 1.5
    assert eta.remaining == pytest.approx(178.5)


def test_a_slow_first_step_does_not_count_for_long() -> None:
    clock = Clock()
    eta = EtaEstimator(clock)
    eta.update(0, 11)
    clock.now += 60
    eta.update(1, 11)
    assert eta.remaining == pytest.approx(600)
    clock.now += 1
    eta.update(2, 11)
    assert eta.remaining == pytest.approx(9)


def test_a_burst_changes_little_and_a_lasting_change_counts() -> None:
    clock = Clock()
    eta = EtaEstimator(clock, memory=30)
    for done in range(100):
        clock.now += 1
        eta.update(done, 1000)
    clock.now += 0.01
    eta.update(100, 1000)
    assert eta.remaining == pytest.approx(900, rel=0.01)
    for done in range(101, 200):
        clock.now += 3
        eta.update(done, 1000)
    assert eta.remaining == pytest.approx(801 * 3, rel=0.01)


def test_a_new_phase_and_a_resumed_run_start_anew() -> None:
    clock = Clock()
    eta = EtaEstimator(clock)
    eta.update(500, 1000)
    assert eta.remaining is None
    clock.now += 1
    eta.update(501, 1000)
    assert eta.remaining == pytest.approx(499)
    eta.update(501, 1000)
    eta.update(1000, 1000)
    assert eta.remaining == 0
    eta.update(0, 10)
    assert eta.remaining is None


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "unknown"),
        (float("inf"), "unknown"),
        (-3, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min 00 s"),
        (200, "3 min 20 s"),
        (7500, "2 h 05 min"),
    ],
)
def test_durations(seconds: float | None, text: str) -> None:
    assert format_seconds(seconds) == text


def test_quiet_progress_is_thinned_and_values_are_not() -> None:
    seen: list[ProgressEvent] = []
    reporter = EventReporter(seen.append, quiet_interval=1000)  # type: ignore[arg-type]
    for done in range(101):
        reporter.progress(done, 100)
    assert [event.done for event in seen] == [0, 100]
    for done in range(1, 5):
        reporter.progress(done, 100, loss=0.5)
    assert len(seen) == 6


def test_json_lines() -> None:
    lines: list[str] = []
    cancel = threading.Event()
    reporter = JsonLinesReporter(lines.append, cancel, "7")
    assert isinstance(reporter, Reporter)
    reporter.progress(1, 2, "half", loss=1.0)
    reporter.log("careful", "warning")
    reporter.log("odd", "shout")
    reporter.event("done", where=3)
    events = [parse_event(line) for line in lines]
    assert [event.event for event in events] == ["progress", "log", "log", "notice"]
    assert {event.job for event in events} == {"7"}
    assert not reporter.cancelled()
    cancel.set()
    with pytest.raises(Cancelled):
        stop_if_cancelled(reporter)


def test_tee_cancel_and_parts() -> None:
    first, second = Recorder(), Recorder()
    tee = TeeReporter(first, second)
    tee.progress(1, 2)
    tee.log("x")
    tee.event("e", a=1)
    assert [event.event for event in second.events] == ["progress", "log", "notice"]
    assert not tee.cancelled()
    second.stop()
    assert tee.cancelled()
    flag = threading.Event()
    reporter = CancelReporter(SilentReporter(), flag)
    assert not reporter.cancelled()
    flag.set()
    assert reporter.cancelled()
    part = PartReporter(first, 1, 4, "b: ")
    part.progress(1, 2, "half")
    part.progress(1, 0)
    part.log("hello")
    part.event("n")
    event = first.named("progress")[1]
    assert (event.done, event.total, event.message) == (1500, 4000, "b: half")
    assert first.events[-2].message == "b: hello"  # type: ignore[union-attr]
    assert not part.cancelled()


def console(terminal: bool) -> tuple[Console, io.StringIO]:
    stream = io.StringIO()
    return Console(file=stream, force_terminal=terminal, width=100, highlight=False), stream


def test_plain_console_prints_few_lines() -> None:
    target, stream = console(False)
    with ConsoleReporter(target) as reporter:
        for done in range(1, 101):
            reporter.progress(done, 100, "[bold]step", loss=0.123456)
        reporter.log("done [x]")
        reporter.log("hidden", "debug")
        reporter.log("odd", "warning")
        reporter.event("hidden", a=1)
        assert not reporter.cancelled()
    text = stream.getvalue()
    assert text.splitlines() == [
        "[bold]step  1/100, unknown left  loss 0.1235",
        "[bold]step  100/100  loss 0.1235",
        "done [x]",
        "Warning: odd",
    ]


def test_terminal_has_a_bar_with_time_left() -> None:
    target, stream = console(True)
    with ConsoleReporter(target, verbose=True) as reporter:
        reporter.progress(0, 4, "training")
        reporter.progress(1, 4, "training", loss=0.5)
        reporter.log("noted", "debug")
        reporter.event("checkpoint", step=1)
        reporter.progress(2, 4, "training", loss=0.25)
        reporter._bar.refresh()  # type: ignore[union-attr]
    text = stream.getvalue()
    assert "training" in text
    assert "left" in text
    assert "50%" in text
    assert "checkpoint: step=1" in text
    assert text.rstrip().endswith("\x1b[?25h") or "\x1b[?25h" in text  # the cursor is back
