"""Installing napari-gemini on request: what will be done, in words and commands, and doing it.

Every step is a process of its own; nothing is installed or imported in Slicer's process. Standard
library alone.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from GeminiPropagateLib.errors import PropagateError
from GeminiPropagateLib.interpreters import python_of_environment
from GeminiPropagateLib.processes import describe_exit, kill_tree, start_process
from GeminiPropagateLib.translations import _

#: What the engine needs; SlicerPyTorch chooses the build that suits the machine.
TORCH_REQUIREMENT = ">=2.10"
_INSTALL_TORCH = (
    "import slicer, PyTorchUtils\n"
    "logic = PyTorchUtils.PyTorchUtilsLogic()\n"
    f"done = logic.installTorch(torchVersionRequirement={TORCH_REQUIREMENT!r})\n"
    "slicer.util.exit(0 if done is not None else 1)"
)


@dataclass(frozen=True)
class Step:
    """One process: what it does, its command, and its environment (None: this process's)."""

    title: str
    command: tuple[str, ...]
    environment: Mapping[str, str] | None = None


@dataclass(frozen=True)
class InstallPlan:
    """What an installation will do.

    Attributes
    ----------
    question
        What the user is asked before.
    steps
        In order; the first that fails ends it.
    python
        The interpreter that has napari-gemini afterwards.
    """

    question: str
    steps: tuple[Step, ...]
    python: str


def find_package(path: str) -> tuple[Path, tuple[str, ...]]:
    """Find what to install in what the user named.

    Parameters
    ----------
    path
        A wheel, a folder with wheels (of the dependencies as well, for machines without a
        network), or a folder with the sources.

    Returns
    -------
    Path
        The wheel or the folder of the sources.
    tuple of str
        Options that let pip find the other wheels of that folder.

    Raises
    ------
    PropagateError
        If there is nothing to install.
    """
    if not path.strip():
        raise PropagateError(_("Name the wheel of napari-gemini, or the folder that has it."))
    chosen = Path(path).expanduser()
    if chosen.is_file() and chosen.suffix == ".whl":
        return chosen, ()
    if chosen.is_dir():
        wheels = sorted(chosen.glob("napari_gemini-*.whl"), key=lambda wheel: wheel.stat().st_mtime)
        if wheels:
            return wheels[-1], ("--find-links", str(chosen))
        if (chosen / "pyproject.toml").is_file():
            return chosen, ()
    raise PropagateError(
        _(
            "{path} is neither a wheel of napari-gemini nor a folder with one or with its sources."
        ).format(path=path)
    )


def plan_environment(
    package: str,
    folder: Path,
    base_python: str,
    environment: Mapping[str, str],
    pip_options: str = "",
) -> InstallPlan:
    """Plan an installation into an environment of its own; Slicer stays as it is.

    Parameters
    ----------
    package
        As for :func:`find_package`.
    folder
        Of the environment, made when it is missing.
    base_python
        A Python of the system, 3.11 or newer.
    environment
        What Slicer was started with.
    pip_options
        More options, as one would type them.

    Raises
    ------
    PropagateError
        If there is nothing to install, or no Python to make an environment with.
    """
    source, options = find_package(package)
    if not base_python.strip() or not Path(base_python).is_file():
        raise PropagateError(
            _("Name a Python of this machine (3.11 or newer) to make the environment with.")
        )
    if folder.exists() and any(folder.iterdir()) and not (folder / "pyvenv.cfg").is_file():
        raise PropagateError(
            _("{folder} is not empty and no environment; choose another folder.").format(
                folder=folder
            )
        )
    clean = {key: value for key, value in environment.items() if not key.startswith("PYTHON")}
    python = str(python_of_environment(folder))
    install = (python, "-m", "pip", "install", "--disable-pip-version-check", f"{source}[engine]")
    question = _(
        "Install {name} and what it needs, PyTorch included, into an environment of its "
        "own in\n"
        "{folder}\n"
        "made with {base_python}?\n\n"
        "Slicer's own Python stays as it is. This may download about 1 GB (5 GB for some "
        "GPUs) and take several minutes."
    ).format(name=source.name, folder=folder, base_python=base_python)
    steps = (
        Step(_("Making the environment"), (base_python, "-m", "venv", str(folder)), clean),
        Step(
            _("Installing napari-gemini"), (*install, *options, *_split_options(pip_options)), clean
        ),
    )
    return InstallPlan(question, steps, python)


def plan_slicer(
    package: str, python_slicer: str, slicer: str, has_torch_utils: bool, pip_options: str = ""
) -> InstallPlan:
    """Plan an installation into Slicer's own Python.

    PyTorch comes through the extension PyTorch (SlicerPyTorch), in a Slicer without a window, so
    that it is never imported in this one. Its SimpleITK, numpy and vtk stay.

    Parameters
    ----------
    package
        As for :func:`find_package`.
    python_slicer
        ``PythonSlicer``.
    slicer
        The launcher of this Slicer.
    has_torch_utils
        Whether the extension PyTorch is installed.
    pip_options
        More options, as one would type them.

    Raises
    ------
    PropagateError
        If there is nothing to install, or the extension PyTorch is missing.
    """
    source, options = find_package(package)
    if not has_torch_utils:
        raise PropagateError(
            _(
                "Install the extension PyTorch with the Extensions Manager first and restart "
                "Slicer, or choose an environment of its own."
            )
        )
    torch = (slicer, "--no-splash", "--no-main-window", "--ignore-slicerrc", "--python-code")
    guarded = str(Path(__file__).with_name("guarded_install.py"))
    question = _(
        "Install PyTorch (through the extension PyTorch), {name} and what it needs into "
        "Slicer's own Python?\n\n"
        "Slicer's SimpleITK, numpy and vtk are not replaced. This may download about 1 "
        "GB (5 GB for some GPUs) and take several minutes."
    ).format(name=source.name)
    steps = (
        Step(_("Installing PyTorch"), (*torch, _INSTALL_TORCH)),
        Step(
            _("Installing napari-gemini"),
            (python_slicer, guarded, str(source), *options, *_split_options(pip_options)),
        ),
    )
    return InstallPlan(question, steps, python_slicer)


def _split_options(text: str) -> list[str]:
    try:
        return shlex.split(text, posix=sys.platform != "win32")
    except ValueError as error:
        raise PropagateError(
            _("The options for pip cannot be read ({error}).").format(error=error)
        ) from error


class InstallRun:
    """Run the steps of a plan one after the other, without blocking.

    Parameters
    ----------
    steps
        See :class:`InstallPlan`.
    """

    def __init__(self, steps: Sequence[Step]) -> None:
        self._steps = list(steps)
        self._total = len(self._steps)
        self._process: subprocess.Popen[bytes] | None = None
        descriptor, name = tempfile.mkstemp(prefix="gemini-install-", suffix=".log")
        self._log = Path(name)
        # Two handles: the child writes at the end while this side reads on from where it was.
        self._writer = os.fdopen(descriptor, "ab")
        self._reader = self._log.open("rb")
        self._tail = b""
        self.title = ""
        self.error = ""
        self.done = False

    @property
    def fraction(self) -> float:
        """Share of the steps that are finished, 0 to 1."""
        left = len(self._steps) + (self._process is not None)
        return (self._total - left) / max(1, self._total)

    def poll(self) -> list[str]:
        """Start the next step when one has ended; return new lines of output.

        `done` is set after the last, `error` to one sentence when a step failed.
        """
        lines = self._new_lines()
        if self.done or self.error:
            return lines
        if self._process is not None:
            code = self._process.poll()
            if code is None:
                return lines
            lines += self._new_lines(to_the_end=True)
            self._process = None
            if code != 0:
                self._fail(
                    _("{title} failed ({exit_code}); the log says why.").format(
                        title=self.title, exit_code=describe_exit(code)
                    )
                )
                return lines
        if self._steps:
            self._start(self._steps.pop(0))
            lines.append(_("{title} ...").format(title=self.title))
        else:
            self.done = True
            self._close()
        return lines

    def kill(self) -> None:
        """End it with everything it started."""
        if self._process is not None and self._process.poll() is None:
            kill_tree(self._process.pid)
            self._process.wait()
        if not self.done and not self.error:
            self._fail(_("The installation was cancelled; install again before the first run."))

    def _start(self, step: Step) -> None:
        self.title = step.title
        try:
            self._process = start_process(
                step.command,
                step.environment,
                self._writer.fileno(),
                subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
            )
        except PropagateError as error:
            self._fail(str(error))

    def _fail(self, sentence: str) -> None:
        self.error, self._process = sentence, None
        self._close()

    def _close(self) -> None:
        self._writer.close()
        self._reader.close()
        with contextlib.suppress(OSError):
            self._log.unlink()

    def _new_lines(self, to_the_end: bool = False) -> list[str]:
        if self._reader.closed:
            return []
        *lines, self._tail = (self._tail + self._reader.read()).replace(b"\r", b"\n").split(b"\n")
        if to_the_end:
            lines, self._tail = [*lines, self._tail], b""
        return [line.decode(errors="replace") for line in lines if line.strip()]
