"""Curves from ``events.jsonl``: of the engine's own reporters, damaged, resumed, foreign."""

from __future__ import annotations

import json

import pytest

from napari_gemini.engine.event_log import append_line
from napari_gemini.engine.reporting import JsonLinesReporter
from napari_gemini.evaluation.history import read_history


def test_events_of_the_engine_are_read(tmp_path):
    path = tmp_path / "events.jsonl"
    reporter = JsonLinesReporter(lambda line: append_line(path, line))
    for step in (10, 20, 30):
        reporter.progress(step, 30, "training", loss_segmentation=1 / step, gss=0.1)
    reporter.event("validation", step=20, score=0.7, title="Dice of held-back cases")
    reporter.event("checkpoint", step=20, path="x", best=True)
    reporter.log("fine")
    reporter.log("Step 12 was skipped.", "warning")
    history = read_history(tmp_path)
    assert history.losses["loss_segmentation"] == {10: 0.1, 20: 0.05, 30: pytest.approx(1 / 30)}
    assert history.validation == {"Dice of held-back cases": {20: 0.7}}
    assert history.warnings == ["Step 12 was skipped."]
    assert history.last_step == 30
    assert history.skipped == 0


def write(path, events):
    path.write_text("".join(json.dumps(event) + "\n" for event in events))


def test_a_resumed_run_counts_its_repeated_steps_once(tmp_path):
    path = tmp_path / "events.jsonl"
    steps = [(10, 1.0), (20, 0.9), (30, 9.0), (40, 9.0), (25, 0.8), (30, 0.7)]
    write(path, [{"event": "progress", "done": s, "values": {"loss": v}} for s, v in steps])
    assert read_history(path).losses["loss"] == {10: 1.0, 20: 0.9, 25: 0.8, 30: 0.7}


def test_broken_and_foreign_lines_are_counted_not_fatal(tmp_path):
    path = tmp_path / "events.jsonl"
    good = {"event": "progress", "done": 5, "values": {"loss": 1.0, "bad": None, "worse": "x"}}
    text = (
        json.dumps(good) + "\n" + '[1, 2]\n{"event": "progress", "done": 6, "val\n\n\xff\n"text"\n'
    )
    path.write_bytes(text.encode("latin-1"))
    history = read_history(path)
    assert history.losses == {"loss": {5: 1.0}}
    assert history.skipped == 4
    write(path, [{"event": "progress", "done": "7", "values": {"loss": 1}}, {"event": "notice"}])
    assert read_history(path).losses == {}


def test_no_file_is_an_empty_history(tmp_path):
    history = read_history(tmp_path)
    assert history.last_step is None
    assert history.losses == {}


def test_pauses_are_no_training_time(tmp_path):
    path = tmp_path / "events.jsonl"
    write(path, [{"event": "log", "time": t} for t in (0.0, 10.0, 100_000.0, 100_005.0)])
    assert read_history(path).seconds == pytest.approx(15.0)
