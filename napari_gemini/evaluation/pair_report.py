"""The report of one correspondence: what was matched, how it looks and whether to trust it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from napari_gemini.evaluation.html import flatten, render
from napari_gemini.evaluation.pair_files import PairFiles, input_path, read_pair
from napari_gemini.evaluation.pair_pictures import PairArtist
from napari_gemini.evaluation.pair_words import label_table, sentences, tiles
from napari_gemini.evaluation.provenance import commands_of, provenance_sections
from napari_gemini.volumes.atomic import write_text_atomic

_TOLD_ELSEWHERE = {
    "command", "files", "hashes", "inputs", "notes", "schema_version", "settings", "versions",
}  # fmt: skip


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
        notes=[*[str(note) for note in report.get("notes") or []], *files.notes],
        tiles=tiles(report),
        sentences=sentences(report),
        pictures=artist.draw_all(),
        flat=files.grid.ndim == 2,
        position=artist.position_words(),
        labels=label_table(files, names, artist.colors),
        numbers=flatten({k: v for k, v in report.items() if k not in _TOLD_ELSEWHERE}),
        commands=commands_of(report),
        sections=provenance_sections(report),
        raw=json.dumps(report, indent=2, ensure_ascii=False),
    )
