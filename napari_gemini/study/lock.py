"""Locks of folders: one writer at a time, and a dead writer's lock does not stay.

The lock is a JSON file that names its owner (see :mod:`napari_gemini.study.processes`). Its
modification time is the owner's heartbeat, renewed every few seconds by a thread. An owner on this
machine is asked for directly; one elsewhere (a shared drive) counts as dead when the heartbeat has
stopped for minutes.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType

from pydantic import BaseModel, ConfigDict, ValidationError

from napari_gemini.errors import StudyError
from napari_gemini.study.processes import ProcessIdentity, liveness, this_process
from napari_gemini.volumes.atomic import TEMPORARY_PREFIX, explain_write_error

if sys.platform != "win32":
    import fcntl

HEARTBEAT_SECONDS = 10.0
SILENT_SECONDS = 180.0
"""An owner that cannot be asked for is dead after this long without a heartbeat."""


class LockedError(StudyError):
    """A folder is in use by another program."""


class LockInfo(BaseModel):
    """What a lock file says.

    Attributes
    ----------
    owner
        The process that holds the lock.
    token
        Random text that tells this lock from every other.
    purpose
        What the owner does, for messages.
    since
        When it was taken, ISO 8601.
    """

    model_config = ConfigDict(extra="allow", frozen=True)

    owner: ProcessIdentity
    token: str
    purpose: str = ""
    since: str = ""


class FolderLock:
    """A lock file; use it as a context manager or call :meth:`acquire` and :meth:`release`.

    Parameters
    ----------
    path
        The lock file, in an existing folder.
    purpose
        What this process does, shown to others that want the lock.
    heartbeat_seconds
        How often the heartbeat is renewed.
    """

    def __init__(
        self, path: str | Path, purpose: str = "", *, heartbeat_seconds: float = HEARTBEAT_SECONDS
    ) -> None:
        self.path = Path(path)
        self.purpose = purpose
        self._interval = heartbeat_seconds
        self._token: str | None = None
        self._pid = 0
        self._stop = threading.Event()

    @property
    def held(self) -> bool:
        """Whether this object holds the lock: taken, not released, not taken away."""
        if self._token is None or self._pid != os.getpid():
            return False
        info = read_lock(self.path)
        return info is not None and info.token == self._token

    def acquire(self) -> FolderLock:
        """Take the lock, if need be from a dead owner.

        Returns
        -------
        FolderLock
            Itself.

        Raises
        ------
        LockedError
            If a living process holds it.
        InputError, EngineError
            If the folder cannot be written to.
        """
        if self.held:
            return self
        info = LockInfo(
            owner=this_process(),
            token=secrets.token_hex(8),
            purpose=self.purpose,
            since=datetime.now(UTC).astimezone().isoformat(timespec="seconds"),
        )
        try:
            with _one_at_a_time(self.path.parent):
                self._take(info)
        except OSError as error:
            raise explain_write_error(error, self.path) from error
        self._token, self._pid = info.token, os.getpid()
        self._stop = threading.Event()
        threading.Thread(
            target=self._beat, args=(self._stop, info.token), name="lock-heartbeat", daemon=True
        ).start()
        return self

    def release(self) -> None:
        """Give the lock back; harmless when it is not held."""
        self._stop.set()
        if self.held:
            with contextlib.suppress(OSError):
                self.path.unlink()
        self._token = None

    def __enter__(self) -> FolderLock:
        """Take the lock."""
        return self.acquire()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Give the lock back."""
        self.release()

    def _take(self, info: LockInfo) -> None:
        """Put the lock file in place, whole from its first moment."""
        draft = self.path.with_name(f"{TEMPORARY_PREFIX}{info.token}-{self.path.name}")
        try:
            with open(draft, "x", encoding="utf-8") as stream:
                stream.write(info.model_dump_json(indent=1))
                stream.flush()
                os.fsync(stream.fileno())
            for _ in range(10):
                if _place(draft, self.path):
                    return
                self._remove_if_dead()
        finally:
            draft.unlink(missing_ok=True)
        raise LockedError(f"{self.path} changes hands all the time: try again in a moment.")

    def _remove_if_dead(self) -> None:
        """Remove the lock of a dead owner.

        Raises
        ------
        LockedError
            If the owner lives.
        """
        found = read_lock(self.path)
        if heartbeat_age(self.path) is None:
            return
        if is_held(self.path):
            raise LockedError(_in_use(self.path, found))
        # Moved aside and looked at again: on systems without folder locks somebody else may have
        # taken the dead lock over in between, and then it is put back.
        aside = self.path.with_name(f"{TEMPORARY_PREFIX}{secrets.token_hex(4)}-dead")
        try:
            os.replace(self.path, aside)
        except FileNotFoundError:
            return
        moved = read_lock(aside)
        if moved is not None and (found is None or moved.token != found.token):
            _place(aside, self.path)
        aside.unlink(missing_ok=True)

    def _beat(self, stop: threading.Event, token: str) -> None:
        while not stop.wait(self._interval):
            info = read_lock(self.path)
            if info is None or info.token != token:
                return
            with contextlib.suppress(OSError):
                os.utime(self.path)


def read_lock(path: str | Path) -> LockInfo | None:
    """Return what a lock file says, or None where there is none or it is damaged."""
    try:
        return LockInfo.model_validate_json(Path(path).read_bytes())
    except (OSError, ValidationError):
        return None


def heartbeat_age(path: str | Path) -> float | None:
    """Return the seconds since the last heartbeat, or None without a lock file."""
    try:
        return max(0.0, time.time() - Path(path).stat().st_mtime)
    except OSError:
        return None


def is_held(path: str | Path) -> bool:
    """Whether a living process holds a lock.

    Parameters
    ----------
    path
        The lock file.

    Returns
    -------
    bool
        False without a lock, with a dead owner, and for an owner that cannot be asked for and
        whose heartbeat stopped :data:`SILENT_SECONDS` ago.
    """
    age = heartbeat_age(path)
    if age is None:
        return False
    info = read_lock(path)
    state = "unknown" if info is None else liveness(info.owner)
    return state == "alive" or (state == "unknown" and age < SILENT_SECONDS)


def living_owner(path: str | Path) -> ProcessIdentity | None:
    """Return the process that holds a lock, None where nobody (or nobody alive) does.

    A damaged lock file with a fresh heartbeat counts as held by process 0 of an unknown host.
    """
    if not is_held(path):
        return None
    info = read_lock(path)
    return ProcessIdentity(pid=0, host="unknown") if info is None else info.owner


def is_ours(path: str | Path) -> bool:
    """Whether this very process holds a lock."""
    info = read_lock(path)
    return info is not None and info.owner == this_process()


def _in_use(path: Path, info: LockInfo | None) -> str:
    if info is None:
        return f"{path.parent} is in use by another program: close it there or wait a few minutes."
    what = f" ({info.purpose})" if info.purpose else ""
    return (
        f"{path.parent} is in use by process {info.owner.pid} on {info.owner.host}{what} since "
        f"{info.since}: close it there first."
    )


def _place(source: Path, target: Path) -> bool:
    """Give a file a second name unless the name is taken; return whether it worked."""
    try:
        os.link(source, target)
    except FileExistsError:
        return False
    except OSError:
        # File systems without hard links (FAT): the content may be seen half-written for a
        # moment, which readers take for a damaged lock of a living owner.
        try:
            handle = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        except FileExistsError:
            return False
        with os.fdopen(handle, "wb") as stream:
            stream.write(source.read_bytes())
    return True


@contextmanager
def _one_at_a_time(folder: Path) -> Iterator[None]:
    """Let one process at a time take a lock of a folder, where the system can do that."""
    if sys.platform == "win32":  # pragma: no cover - Windows only
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        # Network file systems may refuse to lock a folder; then the check after moving serves.
        with contextlib.suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
