"""One command of ``napari-gemini`` in the background, its answer read as JSON."""

from __future__ import annotations

import json
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from typing import IO, Any

from GeminiPropagateLib.errors import PropagateError
from GeminiPropagateLib.processes import kill_tree, start_process, why_it_ended
from GeminiPropagateLib.translations import _


class CommandRun:
    """Run ``python -m napari_gemini.cli ARGUMENTS --json`` without blocking.

    Parameters
    ----------
    python, environment
        As for :class:`GeminiPropagateLib.client.EngineClient`.
    arguments
        Command and options, without ``--json``.

    Raises
    ------
    PropagateError
        If the interpreter cannot be started.
    """

    def __init__(
        self, python: str, arguments: Sequence[str], environment: Mapping[str, str] | None = None
    ) -> None:
        self._python = python
        # Files instead of pipes: they never fill up while nobody reads.
        self._out = tempfile.TemporaryFile()  # noqa: SIM115
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115
        command = [python, "-P", "-m", "napari_gemini.cli", *arguments, "--json"]
        try:
            self._process = start_process(
                command, environment, self._out.fileno(), self._errors, stdin=subprocess.DEVNULL
            )
        except PropagateError:
            self._close()
            raise
        self._answer: dict[str, Any] | None = None
        self._error = PropagateError("")

    def poll(self) -> dict[str, Any] | None:
        """Return the answer when the command has ended, None before.

        Raises
        ------
        PropagateError
            What the command failed with.
        """
        code = self._process.poll()
        if code is None:
            return None
        if not self._out.closed:
            self._take_answer(code)
        if self._answer is None:
            raise self._error
        return self._answer

    def wait(self, timeout: float | None = None) -> dict[str, Any]:
        """Wait for the answer; for tests and scripts.

        Raises
        ------
        PropagateError
            What the command failed with, or that the time is over.
        """
        until = None if timeout is None else time.monotonic() + timeout
        while (answer := self.poll()) is None:
            if until is not None and time.monotonic() > until:
                self.kill()
                raise PropagateError(
                    _("The command did not answer within {timeout:g} s.").format(timeout=timeout)
                )
            time.sleep(0.02)
        return answer

    def kill(self) -> None:
        """End the command and what it started."""
        if self._process.poll() is None:
            kill_tree(self._process.pid)
            self._process.wait()
        if not self._out.closed:
            self._error = PropagateError(_("The command was ended."))
            self._close()

    def _take_answer(self, code: int) -> None:
        out, errors = _text(self._out), _text(self._errors)
        self._close()
        answer = _last_object(out)
        if answer is None:
            said = _sentence(errors)
            ended = why_it_ended(self._python, code, errors)
            self._error = PropagateError(said) if said else ended
        elif "error" in answer and code != 0:
            self._error = PropagateError(str(answer["error"]))
        else:
            self._answer = answer

    def _close(self) -> None:
        self._out.close()
        self._errors.close()


def _text(stream: IO[bytes]) -> str:
    stream.seek(0)
    return stream.read().decode(errors="replace")


def _last_object(text: str) -> dict[str, Any] | None:
    """Return the JSON object at the end of a text; a launcher may have said something before."""
    start = 0 if text.startswith("{") else text.find("\n{") + 1
    while text[start : start + 1] == "{":
        try:
            found = json.loads(text[start:])
        except ValueError:
            start = text.find("\n{", start) + 1
            if start == 0:
                return None
            continue
        return found if isinstance(found, dict) else None
    return None


def _sentence(errors: str) -> str:
    """Return the sentence of a command that says ``Error: ...`` on its error stream."""
    lines = [line for line in errors.splitlines() if line.startswith("Error: ")]
    return lines[-1].removeprefix("Error: ") if lines else ""
