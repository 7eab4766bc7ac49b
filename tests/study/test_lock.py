"""The lock with real processes that live, die and come back under another's number."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import napari_gemini.study.lock as lock_module
import napari_gemini.study.processes as processes
from napari_gemini.errors import StudyError
from napari_gemini.study.lock import (
    SILENT_SECONDS,
    FolderLock,
    LockedError,
    heartbeat_age,
    is_held,
    is_ours,
    living_owner,
    read_lock,
)
from napari_gemini.study.processes import liveness, this_process

HOLD = """
import sys, time
from napari_gemini.study.lock import FolderLock
lock = FolderLock(sys.argv[1], "holding it").acquire()
print("held", flush=True)
time.sleep(60)
"""

linux = pytest.mark.skipif(sys.platform != "linux", reason="tells start times through /proc")


@contextmanager
def owner(path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a process that holds the lock."""
    child = subprocess.Popen([sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE)
    try:
        assert child.stdout is not None
        assert child.stdout.readline().strip() == b"held"
        yield child
    finally:
        child.kill()
        child.wait()
        child.stdout.close()


def rewrite(path: Path, **owner_changes: object) -> None:
    content = json.loads(path.read_text())
    content["owner"] |= owner_changes
    path.write_text(json.dumps(content))


def grow_old(path: Path, seconds: float = SILENT_SECONDS + 60) -> None:
    then = time.time() - seconds
    os.utime(path, (then, then))


def test_taking_and_giving_back(tmp_path: Path) -> None:
    path = tmp_path / "study.lock"
    assert not is_held(path)
    assert living_owner(path) is None
    assert heartbeat_age(path) is None
    lock = FolderLock(path, "testing")
    assert not lock.held
    with lock:
        assert lock.held
        assert lock.acquire() is lock  # once more does nothing
        assert is_ours(path)
        assert living_owner(path) == this_process()
        info = read_lock(path)
        assert info is not None
        assert info.purpose == "testing"
        assert heartbeat_age(path) < 10
        assert [p.name for p in tmp_path.iterdir()] == ["study.lock"]
    assert list(tmp_path.iterdir()) == []
    lock.release()  # harmless


def test_a_living_owner_keeps_others_out(tmp_path: Path) -> None:
    path = tmp_path / "study.lock"
    with owner(path) as child:
        with pytest.raises(LockedError, match=rf"process {child.pid} on .*holding it"):
            FolderLock(path).acquire()
        found = living_owner(path)
        assert found is not None
        assert found.pid == child.pid
        assert not is_ours(path)
        assert [p.name for p in tmp_path.iterdir()] == ["study.lock"]
        # Even if its heart seems to have stopped (a suspended laptop): it can be asked for.
        if sys.platform == "linux":
            grow_old(path)
            assert is_held(path)


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_a_killed_owner_is_replaced_at_once(tmp_path: Path) -> None:
    path = tmp_path / "study.lock"
    with owner(path) as child:
        os.kill(child.pid, signal.SIGKILL)
        # Not waited for: until then it is a zombie, which counts as dead too.
        deadline = time.monotonic() + 10
        while is_held(path) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert path.exists()
        with FolderLock(path) as lock:
            assert lock.held
    assert list(tmp_path.iterdir()) == []


@linux
def test_a_stopped_owner_still_owns(tmp_path: Path) -> None:
    path = tmp_path / "study.lock"
    with owner(path) as child:
        os.kill(child.pid, signal.SIGSTOP)
        with pytest.raises(LockedError):
            FolderLock(path).acquire()
        os.kill(child.pid, signal.SIGCONT)


@linux
def test_a_reused_number_is_another_process(tmp_path: Path) -> None:
    path = tmp_path / "study.lock"
    with owner(path) as child:
        pass
    # The number of the dead owner is given to a living process: this one.
    assert path.exists()
    rewrite(path, pid=os.getpid())
    assert living_owner(path) is None
    with FolderLock(path) as lock:
        assert lock.held
    assert child.returncode is not None


@linux
def test_a_restart_of_the_machine_ends_all_owners(tmp_path: Path) -> None:
    path = tmp_path / "study.lock"
    with FolderLock(path):
        rewrite(path, boot="another boot")
        assert not is_held(path)


def test_an_owner_elsewhere_lives_by_its_heartbeat(tmp_path: Path) -> None:
    path = tmp_path / "study.lock"
    for elsewhere in ({"host": "other-machine"}, {"namespace": "pid:[1]"}):
        lock = FolderLock(path).acquire()
        rewrite(path, **elsewhere)
        assert is_held(path)
        with pytest.raises(LockedError):
            FolderLock(path).acquire()
        grow_old(path)
        assert not is_held(path)
        with FolderLock(path) as second:
            assert second.held
        lock.release()


def test_systems_without_start_times_go_by_the_heartbeat(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "_start_time", lambda pid: None)
    path = tmp_path / "study.lock"
    with FolderLock(path):
        assert liveness(this_process()) == "unknown"
        assert is_held(path)
        grow_old(path)
        assert not is_held(path)
        rewrite(path, pid=2**22 + 1)
        assert liveness(read_lock(path).owner) == "dead"


def test_systems_without_proc(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object, **__: object) -> str:
        raise FileNotFoundError

    monkeypatch.setattr(processes.os, "readlink", missing)
    monkeypatch.setattr(processes.Path, "read_text", missing)
    me = this_process()
    assert (me.boot, me.namespace, me.started) == (None, None, None)
    assert liveness(me) == "unknown"
    assert liveness(me.model_copy(update={"pid": 0})) == "dead"


@pytest.mark.skipif(os.name == "nt", reason="POSIX")
def test_processes_of_others_exist_too() -> None:
    assert processes._exists(1)
    assert not processes._exists(-5)


def test_the_heart_beats(tmp_path: Path) -> None:
    path = tmp_path / "study.lock"
    with FolderLock(path, heartbeat_seconds=0.01):
        grow_old(path)
        deadline = time.monotonic() + 10
        while (heartbeat_age(path) or 0) > 60 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert heartbeat_age(path) < 60


def test_who_lost_the_lock_does_not_touch_the_new_one(tmp_path: Path) -> None:
    path = tmp_path / "study.lock"
    first = FolderLock(path, heartbeat_seconds=0.01).acquire()
    rewrite(path, host="other-machine")
    grow_old(path)
    info = read_lock(path)
    path.write_text(info.model_copy(update={"token": "another"}).model_dump_json())
    assert not first.held
    grow_old(path)
    time.sleep(0.05)
    assert heartbeat_age(path) > SILENT_SECONDS  # its heart does not beat for the other
    first.release()
    assert read_lock(path).token == "another"


def test_a_damaged_lock_is_held_until_it_falls_silent(tmp_path: Path) -> None:
    path = tmp_path / "study.lock"
    path.write_text("{")
    with pytest.raises(LockedError, match="another program"):
        FolderLock(path).acquire()
    assert living_owner(path).pid == 0
    grow_old(path)
    with FolderLock(path) as lock:
        assert lock.held


def test_forked_children_do_not_own_what_the_parent_owns(tmp_path: Path) -> None:
    path = tmp_path / "study.lock"
    with FolderLock(path) as lock:
        lock._pid = os.getpid() + 1  # as a child sees it
        assert not lock.held
        lock.release()
        assert path.exists()


RACE = """
import sys, time
from napari_gemini.study.lock import FolderLock, LockedError
folder, start = sys.argv[1], float(sys.argv[2])
time.sleep(max(0, start - time.time()))
wins = 0
end = start + 1.0
while time.time() < end:
    try:
        with FolderLock(folder + "/study.lock"):
            # Only an owner may be here: two at once would find each other's file.
            handle = open(folder + "/inside", "x")
            handle.close()
            time.sleep(0.001)
            __import__("os").unlink(folder + "/inside")
            wins += 1
    except LockedError:
        time.sleep(0.001)
print(wins)
"""


def test_many_processes_one_owner(tmp_path: Path) -> None:
    start = time.time() + 3.0
    children = [
        subprocess.Popen(
            [sys.executable, "-c", RACE, str(tmp_path), str(start)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    results = [child.communicate(timeout=60) for child in children]
    assert [child.returncode for child in children] == [0] * 4, results
    assert sum(int(out) for out, _ in results) > 4
    assert list(tmp_path.iterdir()) == []


def test_dead_lock_is_taken_by_exactly_one(tmp_path: Path) -> None:
    path = tmp_path / "study.lock"
    with owner(path):
        pass
    code = (
        "import sys, time\n"
        "from napari_gemini.study.lock import FolderLock, LockedError\n"
        "time.sleep(max(0, float(sys.argv[2]) - time.time()))\n"
        "try: FolderLock(sys.argv[1]).acquire(); print('won', flush=True); time.sleep(1.5)\n"
        "except LockedError: print('lost')\n"
    )
    start = str(time.time() + 2.5)
    children = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(path), start], stdout=subprocess.PIPE, text=True
        )
        for _ in range(4)
    ]
    outputs = sorted(child.communicate(timeout=60)[0].strip() for child in children)
    assert outputs == ["lost", "lost", "lost", "won"]


def test_file_systems_without_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_links(source: object, target: object) -> None:
        raise OSError(errno.EPERM, "not supported")

    monkeypatch.setattr(lock_module.os, "link", no_links)
    path = tmp_path / "study.lock"
    with FolderLock(path) as lock:
        assert lock.held
        with pytest.raises(LockedError):
            FolderLock(path).acquire()
    assert list(tmp_path.iterdir()) == []


def test_a_lock_taken_over_in_between_is_put_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without folder locks: somebody replaced the dead lock after it was looked at."""
    path = tmp_path / "study.lock"
    with owner(path):
        pass
    dead = read_lock(path)
    assert dead is not None
    mine = FolderLock(path)
    with FolderLock(path) as other:
        monkeypatch.setattr(lock_module, "is_held", lambda path: False)
        answers = iter([dead])
        real = lock_module.read_lock
        monkeypatch.setattr(lock_module, "read_lock", lambda p: next(answers, None) or real(p))
        mine._remove_if_dead()
        assert other.held
    assert list(tmp_path.iterdir()) == []


def test_a_lock_that_vanishes_is_no_problem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    FolderLock(tmp_path / "study.lock")._remove_if_dead()
    with monkeypatch.context() as patch:
        patch.setattr(lock_module, "_place", lambda source, target: False)
        with pytest.raises(StudyError, match="changes hands"):
            FolderLock(tmp_path / "study.lock").acquire()
    assert list(tmp_path.iterdir()) == []


def test_a_missing_folder_is_said(tmp_path: Path) -> None:
    with pytest.raises(Exception, match="nowhere"):
        FolderLock(tmp_path / "nowhere" / "study.lock").acquire()
