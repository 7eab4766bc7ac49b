"""Run folders: what is written is found again, also after the writer was killed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import tests.engine.fake_tasks  # noqa: F401 - registers its jobs
from napari_gemini.engine.dispatch import run_job
from napari_gemini.engine.event_log import EventTail, append_event, append_line, last_events
from napari_gemini.engine.events import (
    CancelledEvent,
    ErrorEvent,
    LogEvent,
    ProgressEvent,
    ResultEvent,
    StartedEvent,
    format_event,
)
from napari_gemini.engine.jobs import TrainJob
from napari_gemini.engine.run_folder import RUN_SCHEMA, RunFolder, RunFolderReporter
from napari_gemini.engine.run_session import check_run, name_run, run_folder_of, run_session
from napari_gemini.errors import EngineError, InputError
from napari_gemini.progress import Cancelled, SilentReporter
from napari_gemini.settings import TrainSettings
from tests.engine.helpers import Recorder, environment, wait_until

# -- the event log ---------------------------------------------------------------------------


def test_a_tail_copes_with_half_lines_nonsense_and_truncation(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    tail = EventTail(path)
    assert tail.read() == []
    assert last_events(path) == []
    first, second = LogEvent(message="first \u2713"), LogEvent(message="second")
    append_event(path, first)
    half = format_event(second).encode()
    with path.open("ab") as stream:
        stream.write(half[:20])
    assert tail.read() == [first]
    assert tail.read() == []
    with path.open("ab") as stream:
        stream.write(half[20:] + b"\nnonsense\n\n")
    assert tail.read() == [second]
    assert tail.skipped == 1
    path.write_text(format_event(second) + "\n")
    assert tail.read() == [second]


def test_a_line_after_half_a_line_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(b'{"event": "log", "mess')
    event = LogEvent(message="after the kill")
    append_event(path, event)
    tail = EventTail(path)
    assert tail.read() == [event]
    assert tail.skipped == 1


def test_only_the_end_of_a_long_log_is_read(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    for index in range(50):
        append_event(path, LogEvent(message=str(index)))
    events = last_events(path, 500)
    assert 0 < len(events) < 10
    assert events[-1].message == "49"  # type: ignore[union-attr]


def test_threads_do_not_mix_lines(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"

    def write(name: str) -> None:
        for _ in range(50):
            append_event(path, LogEvent(message=name * 200))

    threads = [threading.Thread(target=write, args=(name,)) for name in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    tail = EventTail(path)
    assert len(tail.read()) == 100
    assert tail.skipped == 0


def test_a_log_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="free some disk space"):
        append_line(tmp_path / "missing" / "log", "x")
    if Path("/dev/full").exists():
        with pytest.raises(EngineError, match="No space left"):
            append_line(Path("/dev/full"), "x")


# -- the folder ------------------------------------------------------------------------------


def job_in(study: Path, run: str | None = "r", **options: object) -> TrainJob:
    settings = TrainSettings(steps=30)
    return TrainJob(study=study, run=run, settings=settings, **options)  # type: ignore[arg-type]


def test_a_run_from_before_the_width_of_the_head_goes_on_with_its_own(study: Path) -> None:
    folder = RunFolder(study / "runs" / "r")
    folder.make()
    folder.write_config(job_in(study))
    config = json.loads(folder.config_path.read_text())
    del config["job"]["settings"]["network"]["head_width"]
    folder.config_path.write_text(json.dumps(config))
    network = folder.read_job().settings.network
    assert network.head_width == network.base_width // 2


def test_the_config_repeats_the_job(study: Path) -> None:
    folder = RunFolder(study / "runs" / "r")
    assert repr(folder) == f"RunFolder({str(folder.path)!r})"
    assert not folder.exists
    assert folder.state() == "new"
    folder.make()
    job = job_in(study, device="cpu")
    folder.write_config(job, data={"a": "hash"})
    folder.update_config(threads=2)
    assert folder.read_job() == job
    config = json.loads(folder.config_path.read_text())
    assert config["schema_version"] == RUN_SCHEMA
    assert (config["data"], config["threads"]) == ({"a": "hash"}, 2)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (None, "is no run folder"),
        ("{", "cannot be read"),
        ("[]", "no schema version"),
        ("{}", "no schema version"),
        (json.dumps({"schema_version": RUN_SCHEMA + 1}), "newer napari-gemini .* update"),
        (json.dumps({"schema_version": 1, "job": {"kind": "ping"}}), "is no training"),
        (json.dumps({"schema_version": 1}), "There is no job None"),
    ],
)
def test_a_bad_config_is_one_sentence(study: Path, text: str | None, sentence: str) -> None:
    folder = RunFolder(study / "runs" / "r")
    folder.make()
    if text is not None:
        folder.config_path.write_text(text)
    with pytest.raises(InputError, match=sentence):
        folder.read_job()
    with pytest.raises(InputError, match=sentence):
        check_run(job_in(study, resume=True))
    after = folder.config_path.read_text() if text is not None else None
    assert after == text


def test_a_read_only_place_is_one_sentence(study: Path) -> None:
    (study / "runs").write_text("a file")
    with pytest.raises((InputError, EngineError)):
        RunFolder(study / "runs" / "r").make()


def test_reporter_records_and_stops(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("napari_gemini.engine.run_folder.STOP_INTERVAL", 0.0)
    folder = RunFolder(study / "runs" / "r")
    folder.make()
    reporter = RunFolderReporter(folder)
    reporter.progress(1, 2, loss=0.5)
    reporter.log("hello", "warning")
    folder.append(ErrorEvent(message="It broke.", traceback="Traceback\n  here\n"))
    log = folder.log_path.read_text()
    assert "WARNING  hello" in log
    assert "ERROR    It broke.\nTraceback\n  here\n" in log
    assert not reporter.cancelled()
    folder.request_stop()
    assert reporter.cancelled()
    folder.clear_stop()
    folder.clear_stop()
    assert reporter.cancelled()


@pytest.mark.parametrize(
    ("last", "state"),
    [
        (ResultEvent(), "finished"),
        (CancelledEvent(), "stopped"),
        (ErrorEvent(message="x"), "failed"),
        (StartedEvent(), "interrupted"),
        (ProgressEvent(done=1, total=2), "interrupted"),
    ],
    ids=lambda value: value if isinstance(value, str) else value.event,
)
def test_the_state_is_read_from_the_end(study: Path, last: object, state: str) -> None:
    folder = RunFolder(study / "runs" / "r")
    folder.make()
    folder.append(StartedEvent())
    folder.append(last)  # type: ignore[arg-type]
    assert folder.state() == state
    final = folder.last_final_event()
    assert (final is None) == (state == "interrupted")
    with folder.lock():
        assert folder.state() == "running"
        with pytest.raises(EngineError, match="already running"), folder.lock():
            pass
    assert folder.state() == state
    assert not folder.lock_path.exists()


def test_the_lock_dies_with_its_owner(study: Path) -> None:
    folder = RunFolder(study / "runs" / "r")
    folder.make()
    code = (
        "import sys, time; from napari_gemini.engine.run_folder import RunFolder\n"
        "with RunFolder(sys.argv[1]).lock(): print('mine', flush=True); time.sleep(600)"
    )
    owner = subprocess.Popen(
        [sys.executable, "-c", code, str(folder.path)],
        stdout=subprocess.PIPE,
        env=environment(),
    )
    assert owner.stdout
    owner.stdout.readline()
    assert folder.state() == "running"
    with pytest.raises(EngineError, match=rf"already running \(process {owner.pid} on "):
        folder.refuse_if_running()
    with pytest.raises(EngineError, match=f"process {owner.pid}"), folder.lock():
        pass
    owner.kill()
    wait_until(lambda: folder.owner() is None)  # before anybody waits for the zombie
    with folder.lock():
        assert folder.owner()
    owner.wait()
    owner.stdout.close()


def test_following_ends_with_the_run(study: Path) -> None:
    folder = RunFolder(study / "runs" / "r")
    folder.make()
    assert list(folder.follow()) == []
    with folder.lock():
        folder.append(StartedEvent())
        stream = folder.follow(interval=0.01)
        assert next(stream).event == "started"
        folder.append(LogEvent(message="x"))
        assert next(stream).event == "log"
        folder.append(ResultEvent())
    assert [event.event for event in stream] == ["result"]


# -- the session -----------------------------------------------------------------------------


def test_names(study: Path) -> None:
    assert name_run(job_in(study)).run == "r"
    assert name_run(job_in(study, None)).run == "gemini-semi-1"
    with pytest.raises(InputError, match="no run to resume"):
        name_run(job_in(study, None, resume=True))
    for name in ("gemini-semi-2", "gemini-semi-10", "gemini-semi-x", "other"):
        RunFolder(study / "runs" / name).make()
    assert name_run(job_in(study, None)).run == "gemini-semi-11"
    for age, name in ((100, "gemini-semi-10"), (50, "gemini-semi-2")):
        folder = RunFolder(study / "runs" / name)
        folder.write_config(job_in(study, name))
        os.utime(folder.config_path, (1e9 - age, 1e9 - age))
    assert name_run(job_in(study, None, resume=True)).run == "gemini-semi-2"
    with pytest.raises(InputError, match="has no name"):
        run_folder_of(job_in(study, None))


def test_a_training_is_recorded_from_start_to_end(study: Path, fake_training: None) -> None:
    recorder = Recorder()
    values = run_job(job_in(study, None), recorder)
    folder = RunFolder(study / "runs" / "gemini-semi-1")
    assert values == {"run": folder.name, "folder": str(folder.path), "steps": 30}
    assert folder.state() == "finished"
    config = folder.read_config()
    assert config["provenance"]["versions"]["python"]
    assert config["job"]["run"] == folder.name
    events = folder.tail().read()
    assert [events[0].event, events[-1].event] == ["started", "result"]
    assert len([event for event in events if event.event == "progress"]) == 30
    assert len(recorder.named("progress")) == 30
    assert "trained" in folder.log_path.read_text()
    final = folder.last_final_event()
    assert isinstance(final, ResultEvent)
    assert final.values == values


def test_an_existing_or_impossible_run_is_refused_untouched(
    study: Path, fake_training: None
) -> None:
    run_job(job_in(study), SilentReporter())
    folder = RunFolder(study / "runs" / "r")
    before = {path.name: path.read_bytes() for path in folder.path.iterdir() if path.is_file()}
    with pytest.raises(InputError, match="exists already; continue it with --resume"):
        run_job(job_in(study), SilentReporter())
    assert before == {
        path.name: path.read_bytes() for path in folder.path.iterdir() if path.is_file()
    }
    with pytest.raises(InputError, match="does not exist"):
        run_job(job_in(study / "missing"), SilentReporter())
    with pytest.raises(InputError, match="is no run folder"):
        run_job(job_in(study, "other", resume=True), SilentReporter())
    assert not (study / "runs" / "other").exists()
    with folder.lock(), pytest.raises(EngineError, match="already running"):
        run_job(job_in(study, resume=True), SilentReporter())


def test_a_run_that_failed_before_it_trained_gives_its_name_back(study: Path) -> None:
    job = job_in(study)
    with pytest.raises(InputError, match="no labels"), run_session(job, SilentReporter()):
        raise InputError("There are no labels.")
    folder = RunFolder(study / "runs" / "r")
    assert folder.state() == "failed"
    with run_session(job, SilentReporter()) as session:
        session.finish({})
    assert folder.state() == "finished"
    # One that trained before it failed is kept.
    with pytest.raises(InputError, match="exists already"), run_session(job, SilentReporter()):
        pass

    def fail_in_training() -> None:
        with run_session(job_in(study, "s"), SilentReporter()) as session:
            session.folder.update_config(data_sha256={})
            raise InputError("This is the reason.")

    with pytest.raises(InputError, match="reason"):
        fail_in_training()
    with (
        pytest.raises(InputError, match="exists already"),
        run_session(job_in(study, "s"), SilentReporter()),
    ):
        pass


def test_stopped_and_resumed_it_keeps_its_settings(study: Path, fake_training: None) -> None:
    recorder = Recorder(cancel_after=5)
    with pytest.raises(Cancelled):
        run_job(job_in(study), recorder)
    folder = RunFolder(study / "runs" / "r")
    assert folder.state() == "stopped"
    again = TrainJob(study=study, resume=True, device="cpu", settings=TrainSettings(steps=7))
    recorder = Recorder()
    assert run_job(again, recorder)["steps"] == 30
    first = recorder.named("progress")[0]
    assert (first.done, first.total) == (6, 30)
    assert len(folder.read_config()["resumed"]) == 1
    assert folder.read_job().settings.steps == 30


def test_a_training_that_returns_when_stopped_counts_as_stopped(study: Path) -> None:
    with run_session(job_in(study), SilentReporter()) as session:
        session.finish({"step": 3, "stopped": True})
    assert session.folder.state() == "stopped"
    final = session.folder.last_final_event()
    assert isinstance(final, CancelledEvent)
    assert final.values["step"] == 3


def test_a_full_disk_does_not_hide_the_reason(study: Path) -> None:
    def fail() -> None:
        with run_session(job_in(study), SilentReporter()) as session:
            session.folder.events_path = study / "missing" / "events.jsonl"
            raise InputError("This is the reason.")

    with pytest.raises(InputError, match="the reason"):
        fail()


def test_a_failure_is_recorded(
    study: Path, fake_training: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_FAIL", "1")
    with pytest.raises(InputError, match="label one"):
        run_job(job_in(study), SilentReporter())
    folder = RunFolder(study / "runs" / "r")
    assert folder.state() == "failed"
    final = folder.last_final_event()
    assert isinstance(final, ErrorEvent)
    assert final.message == "The study has no labelled scan; label one."
    assert "Traceback" in folder.log_path.read_text()


def test_asking_twice_gives_the_same_session(study: Path) -> None:
    with run_session(job_in(study), SilentReporter()) as outer:
        with run_session(job_in(study), SilentReporter()) as inner:
            assert inner is outer
        assert outer.folder.state() == "running"
        outer.folder.request_stop()
        assert outer.reporter.cancelled()
    assert outer.folder.state() == "finished"
    assert not outer.folder.stop_requested()
