"""The report of one correspondence: what was matched, how it looks and whether to trust it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from napari_gemini.evaluation.html import flatten, render
from napari_gemini.evaluation.pair_files import PairFiles, input_path, read_pair
from napari_gemini.evaluation.pair_pictures import PairArtist
from napari_gemini.evaluation.pair_words import label_table, sentences, tiles
from napari_gemini.volumes.atomic import write_text_atomic

_TOLD_ELSEWHERE = {"dice", "command", "versions", "settings", "hashes", "inputs"}


def write_pair_report(
    folder: str | Path,
    *,
    out: str | Path | None = None,
    names: Mapping[int, str] | None = None,
    colors: Mapping[int, str] | None = None,
) -> Path:
    """Write the report of one pair as a self-contained HTML page.

    Parameters
    ----------
    folder
        What ``correspond`` or ``propagate`` wrote for one target: ``report.json`` and the maps.
    out
        The page; ``report.html`` in the folder when not given.
    names, colors
        Name and colour of each label.

    Returns
    -------
    Path
        Of the page.

    Raises
    ------
    InputError
        If the folder holds no readable ``report.json``, nothing to show, or cannot be written.
    """
    files = read_pair(folder)
    page = pair_page(files, names or {}, colors or {})
    path = Path(out) if out is not None else files.folder / "report.html"
    write_text_atomic(path, page)
    return path


def pair_page(files: PairFiles, names: Mapping[int, str], colors: Mapping[int, str]) -> str:
    """Return the HTML page of one pair (arguments as in `write_pair_report`)."""
    artist = PairArtist(files, names, colors)
    report = files.report
    titles = [
        path.name if (path := input_path(report, *roles)) else "?"
        for roles in (("moving", "atlas"), ("fixed", "target"))
    ]
    return render(
        "pair.html.j2",
        moving=titles[0],
        fixed=titles[1],
        notes=artist.files.notes,
        tiles=tiles(report),
        sentences=sentences(report),
        pictures=artist.pictures(),
        flat=files.grid.ndim == 2,
        position=artist.position_words(),
        labels=label_table(files, names, artist.colors),
        numbers=flatten({k: v for k, v in report.items() if k not in _TOLD_ELSEWHERE}),
        commands=commands_of(report),
        sections=provenance_sections(report),
        raw=json.dumps(report, indent=2, ensure_ascii=False),
    )


def commands_of(report: Mapping[str, Any]) -> list[str]:
    """Return the command lines that a report or configuration names."""
    command = report.get("command")
    if isinstance(command, list):
        import shlex

        return [shlex.join(str(part) for part in command)]
    return [command] if isinstance(command, str) and command else []


def provenance_sections(report: Mapping[str, Any]) -> list[tuple[str, list[tuple[str, str]]]]:
    """Return inputs, versions, settings and hashes as titled rows, those that there are."""
    sections = []
    for title, key in (
        ("Inputs", "inputs"),
        ("Settings", "settings"),
        ("Versions", "versions"),
        ("Hashes", "hashes"),
        ("Provenance", "provenance"),
    ):
        if report.get(key):
            sections.append((title, flatten(report[key])))
    return sections
