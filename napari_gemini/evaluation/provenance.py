"""The part of a report that says how to repeat it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from napari_gemini.evaluation.html import flatten

_SECTIONS = (
    ("Inputs", "inputs"),
    ("Job", "job"),
    ("Settings", "settings"),
    ("Versions", "versions"),
    ("Hashes", "hashes"),
    ("Data", "data"),
    ("Provenance", "provenance"),
)


def commands_of(report: Mapping[str, Any]) -> list[str]:
    """Return the command line that a report or configuration names, if any."""
    provenance = report.get("provenance")
    inner = provenance.get("command") if isinstance(provenance, Mapping) else None
    command = report.get("command") or inner
    if isinstance(command, list):
        return [shlex.join(str(part) for part in command)]
    return [command] if isinstance(command, str) and command else []


def provenance_sections(report: Mapping[str, Any]) -> list[tuple[str, list[tuple[str, str]]]]:
    """Return job, inputs, versions, settings and hashes as titled rows, those that there are."""
    return [(title, flatten(report[key])) for title, key in _SECTIONS if report.get(key)]
