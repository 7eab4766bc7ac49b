"""Client and child as real processes: the stream stays whole, nothing hangs, nothing is left."""

from __future__ import annotations

import gc
import os
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from napari_gemini.engine.client import EngineClient
from napari_gemini.engine.events import CancelledEvent, ErrorEvent, Event, ResultEvent
from napari_gemini.engine.jobs import PingJob
from napari_gemini.errors import DeviceError, EngineError, InputError
from napari_gemini.progress import Cancelled
from tests.engine.fake_tasks import ArrayJob, CountJob, CrashJob, PrintJob, SpawnJob
from tests.engine.helpers import IMPORT_FAKES, lives, wait_until

LONG = {"n": 10_000, "delay": 0.02}
posix = pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")


def reading_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "engine-events"]


def started(client: EngineClient, job_id: str) -> None:
    """Wait until the job reports."""
    wait_until(lambda: any(e.job == job_id and e.event == "progress" for e in client.poll()))


def test_jobs_run_in_order_and_report(client: EngineClient) -> None:
    seen: list[Event] = []
    first = client.submit(CountJob(n=3))
    second = client.submit(PingJob(echo="hello", devices=False))
    assert client.wait(first, 20, seen.append) == {"counted": 3}
    assert [event.event for event in seen] == ["started", *["progress"] * 4, "result"]
    values = client.wait(second, 20)
    assert values["echo"] == "hello"
    assert values["pid"] == client.pid != os.getpid()
    assert client.ready is not None
    # Asked again, the outcome is still known.
    assert client.wait(first, 0) == {"counted": 3}
    assert {event.job for event in client.poll()} <= {None, second}


def test_prints_of_python_and_c_do_not_reach_the_stream(client: EngineClient) -> None:
    seen: list[Event] = []
    values = client.wait(client.submit(PrintJob(lines=5)), 20, seen.append)
    assert values == {"printed": 5, "stdin": ""}
    assert [event.event for event in seen] == ["started", *["progress"] * 5, "result"]
    assert seen[1].message == "printed \u2713"  # type: ignore[union-attr]
    assert [event.event for event in client.poll()] == ["ready"]
    log = (client.arrays.folder / "engine.log").read_text()
    assert log.count("from C without a flush") == 5
    assert log.count("from a child") == 5


def test_a_running_and_a_queued_job_are_cancelled_at_once(client: EngineClient) -> None:
    running = client.submit(CountJob(**LONG))
    queued = client.submit(CountJob(**LONG))
    started(client, running)
    client.cancel(queued)
    client.cancel(running)
    begin = time.monotonic()
    for job_id in (running, queued):
        with pytest.raises(Cancelled):
            client.wait(job_id, 20)
    assert time.monotonic() - begin < 1.0
    # Asked and obeyed: the child still lives.
    pid = client.pid
    assert client.run(PingJob(), 20)["pid"] == pid


def test_a_deaf_job_is_killed_and_the_engine_comes_back(client: EngineClient) -> None:
    job_id = client.submit(CountJob(deaf=True, **LONG))
    started(client, job_id)
    pid = client.pid
    client.cancel(kill_after=0.3)
    events = wait_until(
        lambda: [event for event in client.poll() if isinstance(event, CancelledEvent)]
    )
    assert events[0].killed
    assert events[0].job == job_id
    assert client.run(PingJob(), 20)["pid"] != pid


@posix
def test_killing_takes_the_whole_tree_along(client: EngineClient) -> None:
    job_id = client.submit(SpawnJob())
    notice = wait_until(lambda: [e for e in client.poll() if e.event == "notice"])[0]
    grandchild = notice.payload["pid"]  # type: ignore[union-attr]
    assert lives(grandchild)
    client.cancel(job_id, kill_after=0.1)
    with pytest.raises(Cancelled):
        client.wait(job_id, 20)
    wait_until(lambda: not lives(grandchild))


@posix
def test_what_a_crashed_child_started_is_ended(client: EngineClient) -> None:
    client.submit(SpawnJob())
    notice = wait_until(lambda: [e for e in client.poll() if e.event == "notice"])[0]
    os.kill(client.pid or 0, signal.SIGKILL)
    wait_until(lambda: not lives(notice.payload["pid"]))  # type: ignore[union-attr]


@posix
def test_sigkill_under_a_job_is_reported_and_survived(client: EngineClient) -> None:
    job_id = client.submit(CountJob(**LONG))
    queued = client.submit(PingJob())
    started(client, job_id)
    os.kill(client.pid or 0, signal.SIGKILL)
    with pytest.raises(EngineError, match=r"stopped unexpectedly \(SIGKILL, maybe because"):
        client.wait(job_id, 20)
    errors = wait_until(lambda: [e for e in client.poll() if isinstance(e, ErrorEvent)])
    assert [event.job for event in errors] == [queued]
    assert not client.running
    assert client.pid is None
    assert client.run(CountJob(n=1), 20) == {"counted": 1}
    with pytest.raises(EngineError, match="SIGKILL"):
        client.wait(job_id, 0)


@pytest.mark.parametrize(
    ("how", "words", "note"),
    [("exit", "exit code 7", "last words"), ("segfault", "SIGSEGV", "fake_tasks.py")],
)
def test_crashes_leave_a_report(client: EngineClient, how: str, words: str, note: str) -> None:
    with pytest.raises(EngineError, match=words) as caught:
        client.run(CrashJob(how=how), 20)
    assert note in "".join(caught.value.__notes__)


def test_errors_are_sentences_and_the_engine_goes_on(client: EngineClient) -> None:
    with pytest.raises(InputError, match=r"The scan is bad; give another\."):
        client.run(CrashJob(how="user"), 20)
    pid = client.pid
    with pytest.raises(EngineError, match=r"unexpectedly \(RuntimeError: something broke\)") as e:
        client.run(CrashJob(how="raise"), 20)
    assert "in crash" in e.value.__notes__[0]
    with pytest.raises(EngineError, match="SystemExit: bye"):
        client.run(CrashJob(how="system-exit"), 20)
    with pytest.raises(DeviceError, match="memory is full"):
        client.run(CrashJob(how="numpy-oom"), 20)
    assert client.run(CrashJob(how="nan"), 20) == {"bad": None, "path": "x"}
    assert client.pid == pid


def test_torch_out_of_memory_says_what_to_lower(client: EngineClient) -> None:
    with pytest.raises(DeviceError, match=r"full.*; to make it fit, close other programs or use"):
        client.run(CrashJob(how="torch-oom"), 60)


def test_arrays_are_mapped_and_removed(client: EngineClient) -> None:
    ref = client.run(ArrayJob(size=5), 20)["array"]
    array = client.arrays.open(ref)
    np.testing.assert_array_equal(array, np.arange(5))
    folder = client.arrays.folder
    client.arrays.discard(ref)
    client.close()
    assert not folder.exists()
    with pytest.raises(EngineError, match="not started"):
        _ = client.arrays


def test_waiting_with_a_limit_and_for_nothing(client: EngineClient) -> None:
    with pytest.raises(EngineError, match="knows no job"):
        client.wait("x")
    client.cancel()
    assert client.poll() == []
    job_id = client.submit(CountJob(**LONG))
    with pytest.raises(TimeoutError):
        client.wait(job_id, 0.2)
    client.kill()
    with pytest.raises(Cancelled):
        client.wait(job_id, 1)
    client.kill()


def test_two_threads_wait_while_a_third_polls(client: EngineClient) -> None:
    results: dict[str, object] = {}
    jobs = [client.submit(CountJob(n=20, delay=0.01)) for _ in range(2)]

    def wait_for(job_id: str) -> None:
        seen: list[Event] = []
        client.wait(job_id, 20, seen.append)
        results[job_id] = [event.event for event in seen]

    threads = [threading.Thread(target=wait_for, args=(job_id,)) for job_id in jobs]
    for thread in threads:
        thread.start()
    wait_until(lambda: set(jobs) <= (client._inbox.waited if client._inbox else set()))
    polled: list[Event] = []
    while any(thread.is_alive() for thread in threads):
        polled += client.poll()
        time.sleep(0.01)
    assert len(results) == 2
    for events in results.values():
        assert events[-1] == "result"  # type: ignore[index]


def test_restart_gives_a_new_child(client: EngineClient) -> None:
    client.start()
    pid = client.pid
    client.start()
    assert client.pid == pid
    client.restart()
    assert client.pid != pid
    assert not lives(pid or 0)


def test_closing_ends_the_child_and_its_threads() -> None:
    client = EngineClient(arguments=IMPORT_FAKES)
    job_id = client.submit(CountJob(**LONG))
    started(client, job_id)
    pid = client.pid or 0
    client.close()
    assert not lives(pid)
    assert reading_threads() == []
    assert any(isinstance(event, CancelledEvent) for event in client.poll())
    client.close()


def test_a_dropped_client_leaves_nothing_behind() -> None:
    client = EngineClient(arguments=IMPORT_FAKES)
    client.run(PingJob(), 20)
    pid, folder = client.pid or 0, client.arrays.folder
    del client
    gc.collect()
    wait_until(lambda: not lives(pid))
    wait_until(lambda: not folder.exists())
    wait_until(lambda: reading_threads() == [])


def test_many_opens_and_closes_leak_no_descriptor_or_thread() -> None:
    descriptors = Path("/proc/self/fd")
    if not descriptors.exists():
        pytest.skip("needs /proc")

    def cycle() -> None:
        with EngineClient() as client:
            client.run(PingJob(), 20)

    cycle()
    gc.collect()
    before = len(list(descriptors.iterdir()))
    for _ in range(5):
        cycle()
    gc.collect()
    assert len(list(descriptors.iterdir())) <= before
    assert reading_threads() == []


def test_a_python_that_is_missing_is_one_sentence(tmp_path: Path) -> None:
    client = EngineClient(python=str(tmp_path / "python"))
    with pytest.raises(EngineError, match="choose a Python that has napari-gemini"):
        client.submit(PingJob())
    client.close()


def test_a_python_without_the_package_is_reported(tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho 'No module named napari_gemini' >&2\nexit 1\n")
    python.chmod(0o755)
    with EngineClient(python=str(python)) as client, pytest.raises(EngineError) as caught:
        client.run(PingJob(), 20)
    assert "exit code 1" in str(caught.value)
    assert "No module named napari_gemini" in caught.value.__notes__[0]


def test_results_outlive_a_flood(client: EngineClient) -> None:
    events: list[Event] = []
    client.wait(client.submit(CountJob(n=2000)), 60, events.append)
    assert len(events) == 2003
    assert isinstance(events[-1], ResultEvent)


def test_a_job_for_a_child_that_just_died_is_answered(client: EngineClient) -> None:
    client.start()
    inbox = client._inbox
    assert inbox is not None
    client.kill()
    inbox.killed = False
    inbox.expect("late")
    assert isinstance(inbox.outcomes["late"], ErrorEvent)
    assert "SIGKILL" in inbox.outcomes["late"].message
