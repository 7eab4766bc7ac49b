"""The child alone: what a client that is not ours may do to it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import pytest

import tests.engine.fake_tasks  # noqa: F401 - registers its jobs
from napari_gemini.engine import arrays
from napari_gemini.engine.child import Child, LineWriter
from napari_gemini.engine.requests import MAX_LINE
from tests.engine.helpers import IMPORT_FAKES, environment, lives, wait_until


class RawChild:
    """A child process spoken to with plain JSON, as another program would."""

    def __init__(self, *arguments: str, **extra: str) -> None:
        self.log = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the child
        self.process = subprocess.Popen(
            [sys.executable, "-m", "napari_gemini.engine", *IMPORT_FAKES, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log,
            env=environment(**extra),
            start_new_session=True,
        )
        assert self.process.stdin
        assert self.process.stdout
        self.stdin: IO[bytes] = self.process.stdin
        self.stdout: IO[bytes] = self.process.stdout

    def say(self, *messages: Any) -> None:
        for message in messages:
            line = message if isinstance(message, bytes) else json.dumps(message).encode()
            self.stdin.write(line + b"\n")
        self.stdin.flush()

    def hear(self, event: str) -> dict[str, Any]:
        """Return the next event of a kind, skipping others."""
        for line in self.stdout:
            message: dict[str, Any] = json.loads(line)
            if message["event"] == event:
                return message
        raise AssertionError(f"the stream ended without {event}")


@contextlib.contextmanager
def raw_child(*arguments: str, **extra: str) -> Iterator[RawChild]:
    child = RawChild(*arguments, **extra)
    try:
        yield child
    finally:
        child.process.kill()
        child.process.wait()
        child.stdin.close()
        child.stdout.close()
        child.log.close()


def submit(job_id: str, kind: str, **options: Any) -> dict[str, Any]:
    return {"request": "submit", "id": job_id, "job": {"kind": kind, **options}}


LONG = {"n": 10_000, "delay": 0.02}


def test_malformed_messages_are_answered_and_survived() -> None:
    with raw_child() as child:
        assert child.hear("ready")["protocol"] == 1
        for wrong in (b"nonsense", b"[1]", b'{"request": "dance"}', b"\xff\xfe", b"{" * 100_000):
            child.say(wrong)
            answer = child.hear("error")
            assert answer["job"] is None
            assert "engine-messages.schema.json" in answer["message"]
        child.say(b"", b"   ")
        child.say(submit("1", "dance"))
        answer = child.hear("error")
        assert (answer["job"], answer["kind"]) == ("1", "InputError")
        child.say(b"x" * (MAX_LINE + 5000))
        assert "longer than" in child.hear("error")["message"]
        child.say(submit("2", "ping", echo="still here"))
        assert child.hear("result")["values"]["echo"] == "still here"
        child.say(submit("2", "ping"))
        assert "used before" in child.hear("error")["message"]


def test_closing_stdin_ends_an_idle_child() -> None:
    with raw_child() as child:
        child.hear("ready")
        child.stdin.close()
        assert child.process.wait(10) == 0


def test_closing_stdin_cancels_the_running_job(tmp_path: Path) -> None:
    folder = tmp_path / "exchange"
    folder.mkdir()
    with raw_child("--exchange", str(folder)) as child:
        child.say(submit("1", "test-count", **LONG), submit("2", "ping"))
        child.hear("progress")
        child.stdin.close()
        assert child.hear("cancelled")["job"] == "1"
        assert child.hear("cancelled")["job"] == "2"
        assert child.process.wait(10) == 0
    assert not folder.exists()


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_a_dead_client_ends_its_child(tmp_path: Path) -> None:
    code = (
        "import sys, time; from napari_gemini.engine.client import EngineClient\n"
        "from tests.engine.fake_tasks import CountJob\n"
        f"client = EngineClient(arguments={IMPORT_FAKES!r})\n"
        "client.submit(CountJob(n=10000, delay=0.02))\n"
        "print(client.pid, client.arrays.folder, flush=True); time.sleep(600)"
    )
    owner = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, env=environment(), text=True
    )
    assert owner.stdout
    pid, folder = owner.stdout.readline().split()
    owner.kill()
    owner.wait()
    owner.stdout.close()
    wait_until(lambda: not lives(int(pid)))
    wait_until(lambda: not Path(folder).exists())


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_signals_cancel_first_and_kill_then() -> None:
    with raw_child() as child:
        child.say(submit("1", "test-count", **LONG))
        child.hear("progress")
        child.process.send_signal(signal.SIGINT)
        assert child.hear("cancelled")["job"] == "1"
        child.say(submit("2", "test-count", deaf=True, **LONG))
        assert child.hear("started")["job"] == "2"
        child.process.send_signal(signal.SIGTERM)
        time.sleep(0.1)
        child.process.send_signal(signal.SIGINT)
        assert child.process.wait(10) == -signal.SIGINT
    with raw_child() as child:
        child.hear("ready")
        child.process.send_signal(signal.SIGTERM)
        assert child.process.wait(10) == -signal.SIGTERM


# -- in this process, where coverage sees the threads ----------------------------------------


class Served:
    """A child served in this process over pipes."""

    def __init__(self, grace: float = 5.0) -> None:
        read_end, self.write_end = os.pipe()
        self.lines: list[dict[str, Any]] = []
        self.child = Child(os.fdopen(read_end, "rb"), self._keep, grace)
        self.thread = threading.Thread(target=self.child.run)
        self.thread.start()

    def _keep(self, line: str) -> None:
        self.lines.append(json.loads(line))

    def say(self, message: Any) -> None:
        os.write(self.write_end, json.dumps(message).encode() + b"\n")

    def heard(self, event: str) -> list[dict[str, Any]]:
        return [line for line in self.lines if line["event"] == event]

    def finish(self) -> None:
        os.close(self.write_end)
        self.thread.join(10)
        assert not self.thread.is_alive()


def test_served_in_process() -> None:
    served = Served()
    served.say(submit("1", "test-count", n=2))
    served.say(submit("2", "test-crash", how="raise"))
    served.say(submit("3", "test-crash", how="system-exit"))
    served.say("nonsense")
    wait_until(lambda: len(served.heard("error")) == 3)
    served.say(submit("4", "test-count", **LONG))
    wait_until(lambda: served.child._running is not None)
    served.child.interrupt(signal.SIGINT)
    wait_until(lambda: served.heard("cancelled"))
    served.say(submit("5", "test-count", **LONG))
    served.say(submit("6", "test-count", **LONG))
    served.say({"request": "cancel", "id": "5"})
    wait_until(lambda: len(served.heard("cancelled")) == 2)
    served.finish()
    assert [line["job"] for line in served.heard("cancelled")] == ["4", "5", "6"]
    assert served.heard("result")[0]["values"] == {"counted": 2}


def test_the_watchdog_ends_what_does_not_listen(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    killed: list[int] = []
    monkeypatch.setattr("napari_gemini.engine.child.kill_tree", killed.append)
    monkeypatch.setattr(arrays, "_current", arrays.ArrayExchange(tmp_path / "x"))
    (tmp_path / "x").mkdir()
    served = Served(grace=0.1)
    served.say(submit("1", "test-count", n=30, delay=0.02, deaf=True))
    wait_until(lambda: served.heard("progress"))
    served.finish()
    assert killed == [os.getpid()]
    assert not (tmp_path / "x").exists()


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_a_deaf_job_is_killed_when_the_client_is_gone() -> None:
    with raw_child("--grace", "0.5") as child:
        child.say(submit("1", "test-spawn"))
        pid = child.hear("notice")["payload"]["pid"]
        child.stdin.close()
        assert child.process.wait(15) == -signal.SIGKILL
        wait_until(lambda: not lives(pid))


def test_a_closed_reader_is_no_error() -> None:
    read_end, write_end = os.pipe()
    writer = LineWriter(write_end)
    writer("\u2713")
    assert os.read(read_end, 100) == "\u2713\n".encode()
    os.close(read_end)
    writer("x" * 100_000)
    writer("y")
    os.close(write_end)
