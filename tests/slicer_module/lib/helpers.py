"""Helpers of the library's tests: real child processes, tiny phantoms, launchers."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jsonschema
from GeminiPropagateLib.client import EngineClient

REPOSITORY = Path(__file__).resolve().parents[3]
SCHEMA = json.loads((REPOSITORY / "resources" / "engine-messages.schema.json").read_text())
FINAL = ("result", "cancelled", "error")


def schema_of(name: str) -> dict[str, Any]:
    """Return the schema of one kind of message, such as ``Job``."""
    return {"$ref": f"#/$defs/{name}", "$defs": SCHEMA["$defs"]}


def check_message(message: Mapping[str, Any], name: str) -> None:
    """Raise unless a message fits the engine's schema."""
    jsonschema.validate(dict(message), schema_of(name))


def environment() -> dict[str, str]:
    """Return an environment in which any Python finds the checkout."""
    return {**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}


def script(path: Path, text: str) -> str:
    """Write an executable shell script and return its name."""
    path.write_text("#!/bin/sh\n" + text)
    path.chmod(0o755)
    return str(path)


def launcher(folder: Path, before: str = "", pipe: str = "") -> str:
    """Return an interpreter that, like PythonSlicer, starts the real one as a child."""
    return script(folder / "launcher", f'{before}\n{pipe}"{sys.executable}" "$@"\n')


def wait_until(condition: Callable[[], Any], timeout: float = 240.0) -> Any:
    """Return the condition's first true value."""
    until = time.monotonic() + timeout
    while not (value := condition()):
        assert time.monotonic() < until, "it did not happen in time"
        time.sleep(0.02)
    return value


def events_until(
    client: EngineClient, wanted: Callable[[dict[str, Any]], bool], timeout: float = 240.0
) -> list[dict[str, Any]]:
    """Poll until an event is wanted and return all so far."""
    events: list[dict[str, Any]] = []

    def seen() -> bool:
        events.extend(client.poll())
        return any(wanted(event) for event in events)

    wait_until(seen, timeout)
    return events


def outcome(client: EngineClient, job: str, timeout: float = 240.0) -> dict[str, Any]:
    """Wait for the final event of a job."""
    events = events_until(client, lambda e: e["event"] in FINAL and e.get("job") == job, timeout)
    return next(event for event in events if event["event"] in FINAL and event.get("job") == job)


def processes_with(text: str) -> list[int]:
    """Return the living processes (no zombies) whose command line or environment has a text."""
    return [pid for pid in _pids() if _has(pid, text)]


def _pids() -> Iterator[int]:
    return (int(name) for name in os.listdir("/proc") if name.isdigit())


def _has(pid: int, text: str) -> bool:
    folder = Path(f"/proc/{pid}")
    try:
        if folder.joinpath("stat").read_text().rsplit(")", 1)[1].split()[0] == "Z":
            return False
        found = folder.joinpath("cmdline").read_bytes() + folder.joinpath("environ").read_bytes()
    except OSError:
        return False
    return text.encode() in found
