"""From the options of ``train`` to its settings: preset, named options, ``--set key=value``."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError

from napari_gemini.errors import InputError, first_problem
from napari_gemini.settings import TrainSettings


def parse_assignments(assignments: Sequence[str]) -> dict[str, Any]:
    """Turn ``["weights.gvs=0.5", "precision=bf16"]`` into ``{"weights.gvs": 0.5, ...}``.

    Values are read as JSON where they are JSON (numbers, ``true``, ``null``), else as text.

    Raises
    ------
    InputError
        If an assignment has no ``=``.
    """
    values: dict[str, Any] = {}
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        if not equals or not key.strip():
            raise InputError(
                f"--set {assignment} is no assignment; write --set key=value, "
                "such as --set weights.gvs=0.5."
            )
        values[key.strip()] = _read_value(text.strip())
    return values


def change_settings(settings: TrainSettings, changes: Mapping[str, Any]) -> TrainSettings:
    """Return a copy of `settings` with some fields changed.

    Parameters
    ----------
    settings
        Where the other values come from.
    changes
        Field name (dotted for nested fields, ``network.base_width``) to value.

    Raises
    ------
    InputError
        If there is no such field or the value does not suit it.
    """
    data = settings.model_dump()
    for key, value in changes.items():
        *parents, last = key.split(".")
        place: Any = data
        for name in parents:
            place = place.get(name) if isinstance(place, dict) else None
        if not isinstance(place, dict) or last not in place or isinstance(place[last], dict):
            known = setting_names(TrainSettings)
            close = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
            hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(known)}."
            raise InputError(f"There is no setting {key!r}: {hint}")
        place[last] = value
    try:
        return TrainSettings.model_validate(data)
    except ValidationError as error:
        raise InputError(_what_is_wrong(error, changes)) from error


def _what_is_wrong(error: ValidationError, changes: Mapping[str, Any]) -> str:
    """Say which changes are wrong and why."""
    key, what = first_problem(error)
    value = error.errors()[0]["input"]
    if not key:
        return f"The settings do not fit together: {what}."
    what = f"{what[0].lower()}{what[1:]}"
    # Where settings that belong together do not fit, those that were changed are to blame.
    changed = [name for name in changes if name.startswith(f"{key}.")]
    if len(changed) > 1:
        return f"The settings {', '.join(changed)} do not fit: {what}."
    if changed:
        key, value = changed[0], changes[changed[0]]
    return f"The setting {key} cannot be {value!r}: {what}."


def setting_names(model: type[BaseModel], prefix: str = "") -> list[str]:
    """Return the dotted names of all fields of a settings model."""
    names: list[str] = []
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            names += setting_names(kind, f"{prefix}{name}.")
        else:
            names.append(prefix + name)
    return names


def _read_value(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text
