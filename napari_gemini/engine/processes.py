"""Starting and ending processes on every system, with the standard library alone."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import sysconfig
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_PACKAGE_ROOT = Path(__file__).resolve().parents[2]


def session_options() -> dict[str, Any]:
    """Return the options of Popen that put a child into a session of its own.

    It then has its own process group, which can be killed as a whole, and hears no Ctrl-C and no
    hang-up of the terminal that it was started from.
    """
    if sys.platform == "win32":  # pragma: no cover
        flags = subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.CREATE_NO_WINDOW
        return {"creationflags": flags}
    return {"start_new_session": True}


def engine_command(*arguments: str, python: str | None = None) -> list[str]:
    """Return the command line of an engine process.

    Parameters
    ----------
    *arguments
        Options of ``python -m napari_gemini.engine``.
    python
        Interpreter; the running one unless given.
    """
    # -P: a file torch.py in the current folder must not become the torch that is imported.
    return [python or sys.executable, "-P", "-m", "napari_gemini.engine", *arguments]


def engine_environment(
    python: str | None = None, extra: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Return the environment of an engine process.

    Parameters
    ----------
    python
        Another interpreter than this one, which then has its own napari-gemini.
    extra
        Variables to add.
    """
    environment = dict(os.environ)
    # A crash in C leaves a traceback in the log.
    environment.setdefault("PYTHONFAULTHANDLER", "1")
    if python is None and str(_PACKAGE_ROOT) not in sysconfig.get_paths().values():
        # A checkout that was never installed is found by the child as well.
        before = environment.get("PYTHONPATH")
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(_PACKAGE_ROOT), before]))
    environment.update(extra or {})
    return environment


def kill_tree(pid: int) -> None:
    """End a process and those it started, at once; one that is gone is fine.

    Parameters
    ----------
    pid
        Of a process; its group is ended with it when it leads one (see :func:`session_options`).
    """
    if sys.platform == "win32":  # pragma: no cover
        command = ["taskkill", "/T", "/F", "/PID", str(pid)]
        subprocess.run(command, capture_output=True, check=False)
        return
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if os.getpgid(pid) == pid:
            os.killpg(pid, signal.SIGKILL)
        else:
            os.kill(pid, signal.SIGKILL)


def kill_group(pid: int) -> None:
    """End what is left of a session that was started with :func:`session_options`.

    Unlike :func:`kill_tree` this also ends processes whose starter is gone already.

    Parameters
    ----------
    pid
        Of the session's first process, dead or alive.
    """
    if sys.platform == "win32":  # pragma: no cover
        kill_tree(pid)
        return
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def describe_exit(code: int) -> str:
    """Say how a process ended, from its return code."""
    if code >= 0:
        return f"exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    if name == "SIGKILL":
        return f"{name}, maybe because the machine's memory ran out"
    return name
