"""Errors that a user sees: each message is one sentence that says what is wrong and what to do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import ValidationError


class GeminiError(Exception):
    """Base of every error meant for the user's eyes.

    Command line, docks and module show ``str(error)`` as it is, without a traceback, so the message
    has to name the thing that is wrong and the way out.
    """

    exit_code = 2


class InputError(GeminiError):
    """A file, folder or option that the user gave cannot be used."""


class StudyError(GeminiError):
    """A study folder is damaged, incomplete or of a newer version."""


class ModelError(GeminiError):
    """A model file is corrupt, of another network or not to be trusted."""


class DeviceError(GeminiError):
    """The compute device is missing or ran out of memory."""

    exit_code = 3


class EngineError(GeminiError):
    """A job or its process failed in a way that the input does not explain."""

    exit_code = 4


class TrainingError(GeminiError):
    """Training cannot go on, for instance because its loss stays non-finite."""

    exit_code = 5


def first_problem(error: ValidationError) -> tuple[str, str]:
    """Return where a document is wrong first, for instance ``scores.0.what``, and what is wrong.

    Where the document as a whole is wrong, the place is empty.
    """
    first = error.errors()[0]
    return ".".join(map(str, first["loc"])), first["msg"].removeprefix("Value error, ")


def listed(names: Sequence[str], shown: int = 5) -> str:
    """Return names for a sentence, the first few of many: ``a, b, c, d, e and 3 more``."""
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + more
