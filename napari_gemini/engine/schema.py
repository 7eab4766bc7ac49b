"""One JSON schema for everything that the engine and its clients say to each other.

Other programs (the 3D Slicer module speaks JSON with the standard library alone) are tested against
``resources/engine-messages.schema.json``. After a change of the models, write it anew::

    python -m napari_gemini.engine.schema
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from napari_gemini.engine.events import EVENT_ADAPTER, PROTOCOL_VERSION
from napari_gemini.engine.jobs import JOB_ADAPTER
from napari_gemini.engine.requests import REQUEST_ADAPTER
from napari_gemini.resources import resources_folder
from napari_gemini.volumes.atomic import write_text_atomic

SCHEMA_NAME = "engine-messages.schema.json"
_TEMPLATE = "#/$defs/{model}"


def message_schema() -> dict[str, Any]:
    """Return the schema: a message is one of ``#/$defs/Request`` and ``#/$defs/Event``."""
    adapters: dict[str, TypeAdapter[Any]] = {
        "Request": REQUEST_ADAPTER,
        "Event": EVENT_ADAPTER,
        "Job": JOB_ADAPTER,
    }
    schemas, shared = TypeAdapter.json_schemas(
        [(name, "validation", adapter) for name, adapter in adapters.items()],
        ref_template=_TEMPLATE,
    )
    definitions = dict(shared["$defs"])
    for (name, _), schema in schemas.items():
        definitions[str(name)] = schema
    submit = definitions["SubmitRequest"]["properties"]
    submit["job"] = {"$ref": "#/$defs/Job", "description": submit["job"]["description"]}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Messages of the napari-gemini engine",
        "description": (
            "One JSON object a line, UTF-8. A client writes requests to the standard input of "
            "'python -m napari_gemini.engine' and reads events from its standard output; a run "
            f"folder's events.jsonl holds the same events. Protocol {PROTOCOL_VERSION}."
        ),
        "anyOf": [{"$ref": "#/$defs/Request"}, {"$ref": "#/$defs/Event"}],
        "$defs": dict(sorted(definitions.items())),
    }


def schema_text() -> str:
    """Return the schema as the published file has it."""
    return json.dumps(message_schema(), indent=2, ensure_ascii=False) + "\n"


def schema_path() -> Path:
    """Return where the schema is published."""
    return resources_folder() / SCHEMA_NAME


if __name__ == "__main__":
    write_text_atomic(schema_path(), schema_text())
