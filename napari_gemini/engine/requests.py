"""What a client says to the child: one JSON object a line on the child's standard input.

Closing that input ends the child; there is no message for it.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from napari_gemini.errors import EngineError

#: The longest line that is taken, in bytes; jobs name files and never carry voxels.
MAX_LINE = 4 << 20


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid")


class SubmitRequest(_Request):
    """Put a job at the end of the queue."""

    request: Literal["submit"] = "submit"
    id: str = Field(min_length=1, max_length=200, description="chosen by the client, used once")
    job: dict[str, Any] = Field(description="a job with its kind")


class CancelRequest(_Request):
    """Ask a job to stop, or every job when no id is given."""

    request: Literal["cancel"] = "cancel"
    id: str | None = None


Request = SubmitRequest | CancelRequest
REQUEST_ADAPTER: TypeAdapter[Request] = TypeAdapter(
    Annotated[Request, Field(discriminator="request")]
)


def parse_request(line: str | bytes) -> Request:
    """Read one line of the child's input.

    Raises
    ------
    EngineError
        If it is no request.
    """
    try:
        return REQUEST_ADAPTER.validate_json(line)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise EngineError(
            f"The message to the engine cannot be used ({where + ': ' if where else ''}"
            f"{first['msg']}); see engine-messages.schema.json."
        ) from error
