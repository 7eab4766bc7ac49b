"""The published schema is that of the models, and real messages obey it."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest

from napari_gemini.engine import events, jobs
from napari_gemini.engine.requests import CancelRequest, SubmitRequest
from napari_gemini.engine.schema import message_schema, schema_path, schema_text
from tests.engine.test_messages import MEAN


def validator(part: str) -> jsonschema.Draft202012Validator:
    schema = message_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator({**schema, "anyOf": [{"$ref": f"#/$defs/{part}"}]})


def test_the_file_is_in_step_with_the_models() -> None:
    assert schema_path().read_text(encoding="utf-8") == schema_text(), (
        "write it anew: python -m napari_gemini.engine.schema"
    )


@pytest.mark.parametrize("kind", sorted(MEAN))
def test_submitted_jobs_obey(kind: str) -> None:
    job = jobs.parse_job({"kind": kind, **MEAN[kind]})
    request = SubmitRequest(id="1", job=job.model_dump(mode="json"))
    validator("Request").validate(json.loads(request.model_dump_json()))


@pytest.mark.parametrize(
    "message",
    [
        {"request": "submit", "id": "1", "job": {"kind": "dance"}},
        {"request": "submit", "id": "1", "job": {"kind": "train"}},
        {"request": "submit", "job": {"kind": "ping"}},
        {"request": "cancel", "id": 3},
        {"event": "log", "message": "x"},
    ],
)
def test_wrong_requests_do_not_obey(message: dict[str, Any]) -> None:
    assert not validator("Request").is_valid(message)


def test_cancel_obeys() -> None:
    validator("Request").validate(json.loads(CancelRequest().model_dump_json()))


@pytest.mark.parametrize(
    "event",
    [
        events.ReadyEvent(version="1", pid=2),
        events.StartedEvent(kind="train"),
        events.ProgressEvent(done=1, total=2, values={"x": float("nan")}),
        events.LogEvent(message="m", level="warning"),
        events.NoticeEvent(name="n", payload={"a": [1, None]}),
        events.ResultEvent(values={"a": 1}),
        events.CancelledEvent(killed=True),
        events.ErrorEvent(message="m", traceback="t"),
    ],
    ids=lambda event: event.event,
)
def test_events_obey(event: events.Event) -> None:
    validator("Event").validate(json.loads(events.format_event(event)))
