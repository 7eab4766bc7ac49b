"""The terminal's reporter: a bar with time left, plain lines where there is no terminal."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn

from napari_gemini.engine.eta import EtaEstimator, format_seconds
from napari_gemini.engine.reporting import PartReporter

#: Seconds between two lines of progress where no bar can be drawn.
LINE_INTERVAL = 10.0


class ConsoleReporter:
    """Show progress, time left and messages on the error stream; results own the output stream.

    Use it as a context manager, so that the bar is taken down and the cursor comes back.

    Parameters
    ----------
    console
        Where to draw; the error stream unless given.
    verbose
        Also show debug messages and notices.
    """

    def __init__(self, console: Console | None = None, verbose: bool = False) -> None:
        self.console = console or Console(file=sys.stderr, highlight=False)
        self._verbose = verbose
        self._eta = EtaEstimator()
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._last_line = float("-inf")

    def __enter__(self) -> ConsoleReporter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Take the bar down."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = self._task = None

    def progress(self, done: int, total: int, message: str = "", **values: float) -> None:
        """Move the bar."""
        self._eta.update(done, total)
        numbers = "  ".join(f"{name} {value:.4g}" for name, value in values.items())
        if self.console.is_terminal:
            self._draw(done, total, message, numbers)
        else:
            self._print_line(done, total, message, numbers)

    def _draw(self, done: int, total: int, message: str, numbers: str) -> None:
        left = format_seconds(self._eta.remaining)
        if self._bar is None or self._task is None:
            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                TaskProgressColumn(),
                TextColumn("{task.fields[left]} left"),
                TextColumn("{task.fields[numbers]}"),
                console=self.console,
                transient=True,
                redirect_stdout=False,
                redirect_stderr=False,
            )
            self._task = self._bar.add_task("", left=left, numbers="")
            self._bar.start()
        self._bar.update(
            self._task,
            description=escape(message),
            completed=done,
            total=total,
            left=left,
            numbers=escape(numbers),
        )

    def _print_line(self, done: int, total: int, message: str, numbers: str) -> None:
        now = time.monotonic()
        if done < total and now - self._last_line < LINE_INTERVAL:
            return
        self._last_line = now
        left = f", {format_seconds(self._eta.remaining)} left" if done < total else ""
        # Thousandths of parts (PartReporter) and other large totals read better as a share.
        count = (
            f"{100 * done // total} %"
            if total and total % PartReporter.RESOLUTION == 0
            else f"{done}/{total}"
        )
        parts = [part for part in (message, f"{count}{left}", numbers) if part]
        self.console.print("  ".join(parts), markup=False, soft_wrap=True)

    def log(self, message: str, level: str = "info") -> None:
        """Print a message above the bar."""
        if level == "debug" and not self._verbose:
            return
        style = {"warning": "yellow", "error": "bold red"}.get(level)
        prefix = f"{level.capitalize()}: " if level in ("warning", "error") else ""
        self.console.print(prefix + message, style=style, markup=False, soft_wrap=True)

    def event(self, name: str, **payload: Any) -> None:
        """Print a notice when asked to be verbose."""
        if self._verbose:
            details = ", ".join(f"{key}={value}" for key, value in payload.items())
            self.console.print(f"{name}: {details}", markup=False, soft_wrap=True)

    def cancelled(self) -> bool:
        """Return False: signals are taken by :mod:`napari_gemini.engine.interrupts`."""
        return False
