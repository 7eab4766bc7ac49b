"""What people thought of predicted labels: one row per verdict, the latest counts."""

from __future__ import annotations

import csv
import getpass
import io
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, get_args

from pydantic import BaseModel, ConfigDict, ValidationError

from napari_gemini.errors import StudyError
from napari_gemini.volumes.atomic import write_text_atomic

Verdict = Literal["accepted", "corrected", "rejected", "unsure"]
VERDICTS: tuple[str, ...] = get_args(Verdict)
COLUMNS = ("case", "verdict", "comment", "who", "when")
#: Files of earlier versions lack it.
SOURCE = "source"


class ReviewRow(BaseModel):
    """One verdict on one case.

    Attributes
    ----------
    case
        Case id.
    verdict
        accepted, corrected, rejected or unsure.
    comment
        Free text.
    who
        Name of the reviewer.
    when
        Time in ISO 8601 with time zone.
    source
        Which result was looked at, such as ``predictions/<run>`` or ``pairs/<pair>``; empty where
        the verdict is on the case.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    case: str
    verdict: Verdict
    comment: str = ""
    who: str = ""
    when: str = ""
    source: str = ""


def new_row(
    case: str, verdict: Verdict, comment: str = "", who: str | None = None, source: str = ""
) -> ReviewRow:
    """Return a row of now, by the person at the keyboard unless `who` is given."""
    return ReviewRow(
        case=case,
        verdict=verdict,
        comment=comment,
        who=current_user() if who is None else who,
        when=datetime.now(UTC).astimezone().isoformat(timespec="seconds"),
        source=source,
    )


def current_user() -> str:
    """Return the name of the logged-in user, or an empty text where the system knows none."""
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        return ""


def read_review(path: str | Path) -> list[ReviewRow]:
    """Read a review file, oldest row first; a missing file has no rows.

    Raises
    ------
    StudyError
        If the file is no review file.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError) as error:
        raise StudyError(f"{path} cannot be read ({error}): mend or remove it.") from error
    reader = csv.DictReader(io.StringIO(text, newline=""))
    if not set(COLUMNS) <= set(reader.fieldnames or ()):
        raise StudyError(f"{path} lacks one of the columns {', '.join(COLUMNS)}: mend the file.")
    names = (*COLUMNS, SOURCE)
    rows = []
    for record in reader:
        try:
            rows.append(ReviewRow.model_validate({name: record.get(name) or "" for name in names}))
        except ValidationError as error:
            raise StudyError(
                f"{path} has a row that cannot be read near line {reader.line_num} "
                f"({error.errors()[0]['msg']}): mend the file."
            ) from None
    return rows


def write_review(path: str | Path, rows: list[ReviewRow]) -> None:
    """Write all rows, atomically."""
    stream = io.StringIO(newline="")
    writer = csv.DictWriter(stream, (*COLUMNS, SOURCE), lineterminator="\n")
    writer.writeheader()
    writer.writerows(row.model_dump() for row in rows)
    write_text_atomic(Path(path), stream.getvalue())


def latest(rows: list[ReviewRow]) -> dict[str, ReviewRow]:
    """Return the last row of every case."""
    return {row.case: row for row in rows}


def latest_on(rows: list[ReviewRow], case: str, source: str) -> ReviewRow | None:
    """Return the last row on one result of a case, or on the case as a whole."""
    fitting = (row for row in reversed(rows) if row.case == case and row.source in ("", source))
    return next(fitting, None)
