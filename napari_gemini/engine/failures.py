"""From an exception to the one sentence that a user sees, and back on the other side."""

from __future__ import annotations

import errno
import traceback

from napari_gemini import errors
from napari_gemini.engine.device import is_out_of_memory, out_of_memory_error
from napari_gemini.engine.events import ErrorEvent
from napari_gemini.errors import EngineError, GeminiError

_FULL_DISK = {errno.ENOSPC, errno.EDQUOT}
_READ_ONLY = {errno.EROFS, errno.EACCES, errno.EPERM}


def explain(error: BaseException) -> GeminiError:
    """Return the error that says in one sentence what `error` means for the user.

    Parameters
    ----------
    error
        Anything that a job raised.
    """
    if isinstance(error, GeminiError):
        return error
    if is_out_of_memory(error):
        return out_of_memory_error("close other programs or use a smaller input", error=error)
    if isinstance(error, OSError):
        return _explain_os_error(error)
    text = " ".join(str(error).split())
    name = type(error).__name__
    return EngineError(
        f"The job failed unexpectedly ({name}{': ' + text if text else ''}); "
        "the log has the details for a bug report."
    )


def _explain_os_error(error: OSError) -> GeminiError:
    where = f" ({error.filename})" if error.filename else ""
    if error.errno in _FULL_DISK:
        return EngineError(f"The disk is full{where}; free some space and run it again.")
    if error.errno in _READ_ONLY:
        return errors.InputError(
            f"A file or folder cannot be used{where}, because this user may not; "
            "change its permissions or choose another place."
        )
    if isinstance(error, FileNotFoundError):
        return errors.InputError(f"A file is missing{where}; check the names and run it again.")
    return EngineError(
        f"The system refused an operation{where}: {error.strerror or error}; "
        "the log has the details."
    )


def error_event(error: BaseException, job: str | None = None) -> ErrorEvent:
    """Return the event that tells the other side about an exception."""
    shown = explain(error)
    return ErrorEvent(
        job=job,
        message=str(shown),
        kind=type(shown).__name__,
        exit_code=shown.exit_code,
        traceback="".join(traceback.format_exception(error)),
    )


def error_from_event(event: ErrorEvent) -> GeminiError:
    """Return the exception that an event tells about."""
    kind = getattr(errors, event.kind, None)
    if not (isinstance(kind, type) and issubclass(kind, GeminiError)):
        kind = EngineError
    error: GeminiError = kind(event.message)
    if event.traceback:
        error.add_note(event.traceback)
    return error
