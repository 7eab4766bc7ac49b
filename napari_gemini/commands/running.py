"""What every command does around its job: bars and messages, results, errors, Ctrl-C."""

from __future__ import annotations

import functools
import json
import os
import sys
import traceback
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, ParamSpec

import typer

from napari_gemini.commands.interrupts import INTERRUPTED, current, end_of_interrupt

if TYPE_CHECKING:
    from napari_gemini.engine.jobs import Job
    from napari_gemini.progress import Reporter

Parameters = ParamSpec("Parameters")
Summary = Callable[[Mapping[str, Any]], Iterable[str]]


def guarded(command: Callable[Parameters, None]) -> Callable[Parameters, None]:
    """Make a command end with one sentence and an exit code instead of a traceback.

    The wrapped command's keyword arguments ``as_json`` and ``debug`` say how to tell of an error:
    with ``as_json`` standard output also gets ``{"error": ..., "exit_code": ...}``, with ``debug``
    the traceback goes to standard error before the sentence.
    """

    @functools.wraps(command)
    def run(*args: Parameters.args, **kwargs: Parameters.kwargs) -> None:
        try:
            command(*args, **kwargs)
        except (typer.Exit, typer.Abort):
            raise
        except (KeyboardInterrupt, Exception) as error:
            code = tell(error, debug=bool(kwargs.get("debug")), as_json=bool(kwargs.get("as_json")))
            raise typer.Exit(code) from None

    return run


def tell(error: BaseException, *, debug: bool = False, as_json: bool = False) -> int:
    """Print what went wrong as one sentence and return the exit code.

    Parameters
    ----------
    error
        What a command raised.
    debug
        Print the traceback too.
    as_json
        Print an object with ``error`` and ``exit_code`` on standard output too.
    """
    if debug:
        traceback.print_exception(error)
    if current.heard or isinstance(error, KeyboardInterrupt) or _is_cancelled(error):
        sentence, code = end_of_interrupt(), INTERRUPTED
    else:
        from napari_gemini.engine.failures import explain

        shown = explain(error)
        sentence, code = str(shown), shown.exit_code
        if shown is not error and not debug:
            # explain() speaks of a log, which a command does not have.
            sentence = sentence.replace("the log has the details", "--debug shows the details")
        print(f"Error: {sentence}", file=sys.stderr)
    if as_json:
        print(json.dumps({"error": sentence, "exit_code": code}))
    return code


def _is_cancelled(error: BaseException) -> bool:
    from napari_gemini.progress import Cancelled

    return isinstance(error, Cancelled)


def run_and_show(job: Job, summary: Summary, *, as_json: bool) -> dict[str, Any]:
    """Run a job in this process with a progress bar and show its result.

    Parameters
    ----------
    job
        What to do.
    summary
        Makes a few lines for people from the result.
    as_json
        Print the result as JSON on standard output instead.

    Returns
    -------
    dict
        The result.
    """
    from napari_gemini.engine.console import ConsoleReporter
    from napari_gemini.engine.dispatch import run_in_foreground

    current.check()
    with ConsoleReporter() as reporter:
        result = run_in_foreground(job, reporter)
    show(result, summary, as_json=as_json)
    return result


def run_with_bar(work: Callable[[Reporter], dict[str, Any]]) -> dict[str, Any]:
    """Run a function that takes a reporter as a job would run: with a bar, stopping at Ctrl-C."""
    from napari_gemini.engine.console import ConsoleReporter
    from napari_gemini.engine.interrupts import polite_interrupts
    from napari_gemini.engine.reporting import CancelReporter

    current.check()
    with ConsoleReporter() as reporter, polite_interrupts() as cancel:
        return work(CancelReporter(reporter, cancel))


def show(result: Mapping[str, Any], summary: Summary, *, as_json: bool) -> None:
    """Print a result on standard output, as JSON or as a few lines for people."""
    from napari_gemini.engine.plain import to_plain

    if as_json:
        print(json.dumps(to_plain(result), indent=2, ensure_ascii=False, allow_nan=False))
        return
    for line in summary(result):
        print(line)


def exit_if_failed(result: Mapping[str, Any], what: str) -> None:
    """End with an error when some of many pieces of work failed.

    Parameters
    ----------
    result
        With ``failed``: sentence by piece.
    what
        What a piece is called, in the plural.
    """
    failed = result.get("failed") or {}
    if failed:
        first, sentence = next(iter(failed.items()))
        print(f"Error: {len(failed)} {what} failed, {first} because: {sentence}", file=sys.stderr)
        raise typer.Exit(2)


def close_output() -> None:
    """Flush standard output; a reader that went away (``| head``) is no error."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        # The interpreter would flush once more at its end and complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def number(value: float | None, digits: int = 3) -> str:
    """Return a number for people, or a dash where there is none."""
    return "–" if value is None else f"{value:.{digits}f}"
