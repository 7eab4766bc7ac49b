"""Who a process is, so that a lock can tell a living owner from a dead one.

A pid alone is not enough: after a crash or a restart another program may carry it. So an owner is
known by host, boot, pid namespace (containers), pid and start time; what a system does not tell is
None.
"""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

Liveness = Literal["alive", "dead", "unknown"]


class ProcessIdentity(BaseModel):
    """One process on one machine.

    Attributes
    ----------
    pid
        Process number.
    host
        Name of the machine.
    boot
        Identity of the machine's current run (Linux), which changes at a restart.
    namespace
        Pid namespace (Linux): in another container the same number is another process.
    started
        When the process started, in whatever unit the system counts.
    """

    model_config = ConfigDict(extra="allow", frozen=True)

    pid: int
    host: str
    boot: str | None = None
    namespace: str | None = None
    started: str | None = None


def this_process() -> ProcessIdentity:
    """Return the identity of the running process."""
    pid = os.getpid()
    return ProcessIdentity(
        pid=pid,
        host=socket.gethostname(),
        boot=_boot_id(),
        namespace=_pid_namespace(),
        started=_start_time(pid),
    )


def liveness(owner: ProcessIdentity) -> Liveness:
    """Say whether a process lives.

    Parameters
    ----------
    owner
        As it described itself.

    Returns
    -------
    str
        ``unknown`` when it runs (or ran) on another machine or in another container, or when the
        system does not tell when processes started.
    """
    if owner.host != socket.gethostname() or owner.namespace != _pid_namespace():
        return "unknown"
    if owner.boot != _boot_id():
        return "dead"
    if not _exists(owner.pid):
        return "dead"
    started = _start_time(owner.pid)
    if owner.started is None or started is None:
        return "unknown"
    return "alive" if started == owner.started else "dead"


def _boot_id() -> str | None:
    return _text("/proc/sys/kernel/random/boot_id")


def _pid_namespace() -> str | None:
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return None


def _text(path: str) -> str | None:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return None


def _stat_fields(pid: int) -> list[str] | None:
    """Return the fields of /proc/<pid>/stat from the third on."""
    text = _text(f"/proc/{pid}/stat")
    # The second field is the program's name in brackets, which may hold spaces and brackets.
    return None if text is None else text.rpartition(")")[2].split()


if sys.platform == "win32":  # pragma: no cover - Windows only
    import ctypes
    from ctypes import wintypes

    _QUERY = 0x1000
    _STILL_ACTIVE = 259

    def _creation_time(pid: int) -> str | None:
        kernel = ctypes.windll.kernel32
        handle = kernel.OpenProcess(_QUERY, False, pid)
        if not handle:
            return None
        try:
            code = wintypes.DWORD()
            times = [wintypes.FILETIME() for _ in range(4)]
            if not kernel.GetExitCodeProcess(handle, ctypes.byref(code)):
                return None
            if code.value != _STILL_ACTIVE:
                return None
            if not kernel.GetProcessTimes(handle, *map(ctypes.byref, times)):
                return None
            return str((times[0].dwHighDateTime << 32) | times[0].dwLowDateTime)
        finally:
            kernel.CloseHandle(handle)

    def _exists(pid: int) -> bool:
        # os.kill(pid, 0) would send Ctrl-C on Windows.
        return _creation_time(pid) is not None

    def _start_time(pid: int) -> str | None:
        return _creation_time(pid)

else:

    def _exists(pid: int) -> bool:
        if pid <= 0:
            return False
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            pass  # it lives and belongs to somebody else
        fields = _stat_fields(pid)
        # A zombie has ended and only waits for its parent to look.
        return fields is None or fields[0] not in ("Z", "X")

    def _start_time(pid: int) -> str | None:
        fields = _stat_fields(pid)
        return None if fields is None else fields[19]
