"""What a running job says: one JSON object a line, the same in a stream and in a run folder.

Every event has ``event`` (its kind), ``time`` (seconds since 1970) and ``job`` (the id that the
client gave, null in a run folder). Readers ignore keys they do not know, so that a newer engine can
say more.
"""

from __future__ import annotations

import time
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError

from napari_gemini.engine.plain import to_plain
from napari_gemini.errors import EngineError

#: Raised when a reader of an older version would misunderstand the messages.
PROTOCOL_VERSION = 1

LogLevel = Literal["debug", "info", "warning", "error"]
Number = Annotated[float | None, BeforeValidator(to_plain)]
PlainDict = Annotated[dict[str, Any], BeforeValidator(to_plain)]


class _Event(BaseModel):
    model_config = ConfigDict(extra="ignore")

    time: float = Field(default_factory=time.time, description="seconds since 1970")
    job: str | None = Field(
        default=None, description="id of the job that says it; none: the engine itself"
    )


class ReadyEvent(_Event):
    """The child is up and takes jobs."""

    event: Literal["ready"] = "ready"
    protocol: int = PROTOCOL_VERSION
    version: str = Field(default="", description="of napari-gemini")
    pid: int = 0


class StartedEvent(_Event):
    """A job left the queue and runs."""

    event: Literal["started"] = "started"
    kind: str = Field(default="", description="which job: train, predict, ...")
    pid: int = 0


class ProgressEvent(_Event):
    """`done` of `total` units are finished; `values` are numbers worth plotting."""

    event: Literal["progress"] = "progress"
    done: int
    total: int
    message: str = ""
    values: dict[str, Number] = Field(default_factory=dict)
    elapsed: float = Field(default=0.0, description="seconds since the first progress")
    remaining: Number = Field(
        default=None, description="estimated seconds left; null while unknown"
    )


class LogEvent(_Event):
    """One sentence for the user or the log."""

    event: Literal["log"] = "log"
    level: LogLevel = "info"
    message: str


class NoticeEvent(_Event):
    """Something a program may act on, such as ``target_done`` or ``checkpoint``."""

    event: Literal["notice"] = "notice"
    name: str
    payload: PlainDict = Field(default_factory=dict)


class ResultEvent(_Event):
    """The job ended well."""

    event: Literal["result"] = "result"
    values: PlainDict = Field(default_factory=dict)


class CancelledEvent(_Event):
    """The job ended because it was asked to; `killed` when asking did not help."""

    event: Literal["cancelled"] = "cancelled"
    killed: bool = False
    values: PlainDict = Field(default_factory=dict, description="what a stopped training reached")


class ErrorEvent(_Event):
    """The job ended badly, or a message could not be understood (then `job` may be null)."""

    event: Literal["error"] = "error"
    message: str = Field(description="one sentence for the user")
    kind: str = Field(
        default="EngineError", description="class of the error in napari_gemini.errors"
    )
    exit_code: int = Field(default=4, description="what a command exits with")
    traceback: str | None = Field(default=None, description="for the log, not for the user")


Event = (
    ReadyEvent
    | StartedEvent
    | ProgressEvent
    | LogEvent
    | NoticeEvent
    | ResultEvent
    | CancelledEvent
    | ErrorEvent
)
#: Events after which nothing more comes from a job.
FINAL_EVENTS = (ResultEvent, CancelledEvent, ErrorEvent)

EVENT_ADAPTER: TypeAdapter[Event] = TypeAdapter(Annotated[Event, Field(discriminator="event")])


def parse_event(line: str | bytes) -> Event:
    """Read one line of a stream or of ``events.jsonl``.

    Raises
    ------
    EngineError
        If the line is no event of this version.
    """
    try:
        return EVENT_ADAPTER.validate_json(line)
    except ValidationError as error:
        raise EngineError(
            f"The engine said something that this version cannot read: {line[:200]!r}; "
            "use the same version of napari-gemini on both sides."
        ) from error


def format_event(event: Event) -> str:
    """Return one line of strict JSON without its line break."""
    return event.model_dump_json()
