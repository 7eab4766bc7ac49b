"""Starting and ending the processes of the engine, on every system. Standard library alone."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from GeminiPropagateLib.errors import COMPUTE, INSTALL, PropagateError
from GeminiPropagateLib.translations import _

#: How much of an error stream goes into a report, in bytes.
_REPORT_BYTES = 8192


def start_process(
    command: Sequence[str],
    environment: Mapping[str, str] | None,
    stdout: int,
    stderr: IO[bytes] | int,
    stdin: int = subprocess.PIPE,
) -> subprocess.Popen[bytes]:
    """Start a program in a session of its own, so that it can be ended as a whole.

    ``PythonSlicer`` is a launcher: killing it alone leaves the real interpreter alive.

    Raises
    ------
    PropagateError
        If it cannot be started.
    """
    options: dict[str, Any] = {"start_new_session": True}
    if sys.platform == "win32":
        flags = subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.CREATE_NO_WINDOW
        options = {"creationflags": flags}
    variables = dict(os.environ if environment is None else environment)
    # A crash in C leaves a traceback in the log.
    variables.setdefault("PYTHONFAULTHANDLER", "1")
    try:
        return subprocess.Popen(
            list(command), stdin=stdin, stdout=stdout, stderr=stderr, env=variables, **options
        )
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise PropagateError(
            _(
                "{command} cannot be started ({reason}); choose a Python that has napari-gemini."
            ).format(command=command[0], reason=reason),
            COMPUTE,
        ) from error


def kill_tree(pid: int) -> None:
    """End what :func:`start_process` started and everything that this started, at once."""
    if sys.platform == "win32":
        command = ["taskkill", "/T", "/F", "/PID", str(pid)]
        subprocess.run(command, capture_output=True, check=False)
        return
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def describe_exit(code: int) -> str:
    """Say how a process ended, from its return code."""
    if code >= 0:
        return _("exit code {code}").format(code=code)
    try:
        return signal.Signals(-code).name
    except ValueError:
        return _("signal {number}").format(number=-code)


def end_of_file(path: Path) -> str:
    """Return the last lines of an error stream that went into a file."""
    try:
        return path.read_bytes()[-_REPORT_BYTES:].decode(errors="replace")
    except OSError:
        return ""


def why_it_ended(python: str, code: int, errors: str) -> PropagateError:
    """Return an error about an engine that ended by itself.

    Parameters
    ----------
    python
        Its interpreter.
    code
        Its return code.
    errors
        The end of its error stream.
    """
    if "No module named 'napari_gemini" in errors or "No module named napari_gemini" in errors:
        sentence = _(
            "{python} has no napari-gemini; install it there or choose another Python under "
            "Compute."
        )
        return PropagateError(sentence.format(python=python), INSTALL)
    # A shell between (a launcher) says the signal as 128 and its number.
    if code in (-9, 128 + 9):
        return PropagateError(
            _(
                "The engine was killed (SIGKILL), probably because the machine's memory ran out; "
                "raise the grid spacing, choose a narrower model or close other programs."
            )
        )
    last = next((line for line in reversed(errors.splitlines()) if line.strip()), "")
    reason = f"{describe_exit(code)}{': ' + last.strip()[:200] if last else ''}"
    sentence = _(
        "The engine stopped unexpectedly ({reason}); what was finished is kept, start the rest "
        "again."
    )
    return PropagateError(sentence.format(reason=reason))
