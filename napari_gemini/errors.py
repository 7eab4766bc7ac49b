"""Errors that a user sees: each message is one sentence that says what is wrong and what to do."""

from __future__ import annotations


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
