"""One self-contained HTML page from a template: everything escaped, nothing fetched."""

from __future__ import annotations

import base64
import hashlib
import math
from collections.abc import Mapping
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

_TEMPLATES = Path(__file__).parent / "templates"
MISSING = "–"


def render(template: str, **values: Any) -> str:
    """Fill a template of this package.

    Parameters
    ----------
    template
        File name in ``templates``.
    **values
        What the template names; text is escaped.

    Returns
    -------
    str
        A whole HTML page. Its content security policy allows inline styles, embedded pictures and
        the one script of the template, and no request of any kind.
    """
    style, script = _asset("report.css"), _asset("report.js.j2")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return (
        _environment()
        .get_template(template)
        .render(
            style=style,
            script=script,
            script_hash=f"sha256-{digest}",
            written=datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z"),
            **values,
        )
    )


def number(value: Any, digits: int = 3) -> str:
    """Write a number with at most `digits` decimals, a dash where there is none."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return MISSING
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if isinstance(value, int) or math.isinf(value):
        return f"{value:,}" if isinstance(value, int) else str(value)
    if value != 0 and abs(value) < 0.5 * 10**-digits:
        return f"{value:.1e}"
    return f"{value:,.{digits}f}"


def percent(value: Any, digits: int = 2) -> str:
    """Write a percentage; a share that would round to zero but is not says so."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return MISSING
    if 0 < value < 0.5 * 10**-digits:
        return f"< {10**-digits:.{digits}f} %"
    return f"{value:.{digits}f} %"


def flatten(data: Any, prefix: str = "") -> list[tuple[str, str]]:
    """Turn nested JSON into rows of dotted key and text, lists of plain values on one row."""
    if isinstance(data, Mapping) and data:
        return [
            row
            for key, value in data.items()
            for row in flatten(value, f"{prefix}.{key}" if prefix else str(key))
        ]
    if isinstance(data, list) and any(isinstance(item, Mapping | list) for item in data):
        return [row for i, item in enumerate(data) for row in flatten(item, f"{prefix}[{i}]")]
    if isinstance(data, list):
        return [(prefix, ", ".join(_text(item) for item in data))]
    return [(prefix, _text(data))]


def _text(value: Any) -> str:
    if value is None or value == {}:
        return MISSING
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _asset(name: str) -> str:
    return (_TEMPLATES / name).read_text(encoding="utf-8").strip()


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(number=number, percent=percent)
    return environment
