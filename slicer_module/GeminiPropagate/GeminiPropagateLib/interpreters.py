"""Which Python runs the engine, in which environment, and whether it can.

Standard library alone.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from GeminiPropagateLib.command_run import CommandRun
from GeminiPropagateLib.errors import COMPUTE, PropagateError
from GeminiPropagateLib.translations import _

#: Checks of ``napari-gemini doctor`` that the module does not need: it opens no window of its own.
_NOT_OURS = {"napari", "Qt", "Window"}


@dataclass(frozen=True)
class Interpreter:
    """A Python and the environment it is started in (None: this process's)."""

    path: str
    environment: Mapping[str, str] | None = None


@dataclass(frozen=True)
class InterpreterReport:
    """What a check found.

    Attributes
    ----------
    ok
        Whether the engine can run there.
    sentence
        What works, or what is missing and what to do.
    can_install
        Whether installing napari-gemini there would help.
    details
        One line for each check, for the log.
    """

    ok: bool
    sentence: str
    can_install: bool = False
    details: tuple[str, ...] = ()


def slicer_python() -> str:
    """Return ``PythonSlicer``, the launcher of Slicer's own Python.

    Raises
    ------
    PropagateError
        If this Slicer has none.
    """
    found = shutil.which("PythonSlicer")
    if found is None:
        name = "PythonSlicer.exe" if sys.platform == "win32" else "PythonSlicer"
        beside = Path(sys.executable).with_name(name)
        found = str(beside) if beside.exists() else None
    if found is None:
        raise PropagateError(
            _("PythonSlicer was not found beside Slicer; choose another Python under Compute."),
            COMPUTE,
        )
    return found


def external_python(path: str, environment: Mapping[str, str]) -> Interpreter:
    """Return an interpreter that is not Slicer's.

    Parameters
    ----------
    path
        What the user chose: the program, or the folder of an environment.
    environment
        What Slicer was started with: its own library paths would crash another Python.

    Raises
    ------
    PropagateError
        If nothing was chosen or it is no program.
    """
    if not path.strip():
        raise PropagateError(_("Choose the Python that has napari-gemini under Compute."), COMPUTE)
    program = Path(path).expanduser()
    if program.is_dir():
        program = python_of_environment(program)
    if not program.is_file() or not os.access(program, os.X_OK):
        raise PropagateError(
            _(
                "{path} is no Python; choose the program python of an environment under Compute."
            ).format(path=path),
            COMPUTE,
        )
    clean = {key: value for key, value in environment.items() if not key.startswith("PYTHON")}
    # Not resolved: an environment's python is a link, and works only by its own name.
    return Interpreter(str(program.absolute()), clean)


def python_of_environment(folder: Path) -> Path:
    """Return where an environment made by ``venv`` or conda keeps its interpreter."""
    if sys.platform == "win32":
        conda = folder / "python.exe"
        return conda if conda.exists() else folder / "Scripts" / "python.exe"
    return folder / "bin" / "python"


def base_python(environment: Mapping[str, str]) -> str:
    """Return a Python of the system that can make an environment, empty if there is none."""
    for name in ("python3.12", "python3.13", "python3.11", "python3", "python"):
        found = shutil.which(name, path=environment.get("PATH"))
        # The store's placeholder on Windows is no Python.
        if found and "WindowsApps" not in found:
            return found
    return ""


class InterpreterCheck:
    """Ask an interpreter what works, by its ``doctor`` in a process of its own.

    Raises
    ------
    PropagateError
        If it cannot be started.
    """

    def __init__(self, interpreter: Interpreter) -> None:
        self.interpreter = interpreter
        self._run = CommandRun(interpreter.path, ["doctor"], interpreter.environment)

    def poll(self) -> InterpreterReport | None:
        """Return the report when the check has ended, None before."""
        try:
            answer = self._run.poll()
        except PropagateError as error:
            return InterpreterReport(False, str(error), can_install=error.step != COMPUTE)
        return None if answer is None else report_of(self.interpreter.path, answer)

    def kill(self) -> None:
        """End the check."""
        self._run.kill()


def report_of(python: str, answer: Mapping[str, object]) -> InterpreterReport:
    """Read the answer of ``doctor --json``."""
    raw = answer.get("checks")
    checks = [check for check in raw if isinstance(check, dict)] if isinstance(raw, list) else []
    details = tuple(
        f"{'ok' if check.get('ok') else 'missing'}: {check.get('name')}: {check.get('detail')}"
        for check in checks
    )
    if not checks:
        return InterpreterReport(
            False, _("{python} gave no answer about napari-gemini.").format(python=python), True
        )
    missing = [
        check
        for check in checks
        if check.get("needed") and not check.get("ok") and check.get("name") not in _NOT_OURS
    ]
    if missing:
        command = missing[0].get("command")
        sentence = f"{python}: {missing[0].get('detail')}"
        return InterpreterReport(
            False, f"{sentence} {command}" if command else sentence, True, details
        )
    gpu = next((str(check.get("detail")) for check in checks if check.get("name") == "GPU"), "")
    return InterpreterReport(True, _("Ready. {gpu}").format(gpu=gpu).strip(), details=details)
