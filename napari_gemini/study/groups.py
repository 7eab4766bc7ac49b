"""Files that say which scans may be paired: those of one view, sex or region."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path

from napari_gemini.errors import InputError

COLUMNS = ("case", "group")


def read_groups(path: Path) -> dict[str, str]:
    """Read the group of each case from a CSV file with the columns ``case`` and ``group``.

    Parameters
    ----------
    path
        The file; other columns are not looked at.

    Returns
    -------
    dict
        Case id to group; cases whose group is empty are left out.

    Raises
    ------
    InputError
        If it cannot be read, lacks a column or names a case twice.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            if missing := [name for name in COLUMNS if name not in (reader.fieldnames or ())]:
                raise InputError(
                    f"{path} has no column '{missing[0]}': begin it with the line "
                    f"{','.join(COLUMNS)}."
                )
            rows = list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} cannot be read ({error}): give a CSV file.") from None
    groups: dict[str, str] = {}
    seen: set[str] = set()
    for row in rows:
        case, group = ((row[name] or "").strip() for name in COLUMNS)
        if case in seen:
            raise InputError(f"{path} names {case} twice: leave one of the lines out.")
        seen.add(case)
        if group:
            groups[case] = group
    return groups


def check_groups(groups: Mapping[str, str], images: Mapping[str, Path]) -> None:
    """Refuse groups of cases that a study does not have.

    Raises
    ------
    InputError
        Naming the first.
    """
    for case in groups:
        if case not in images:
            raise InputError(
                f"A group is given for the case {case}, and there is no such image: name cases "
                "like their images, without the ending."
            )
