"""What the table of cases knows of each case, read without the window waiting."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from napari_gemini.errors import GeminiError
from napari_gemini.study.files import Case
from napari_gemini.study.scheme import LabelScheme
from napari_gemini.study.study import Study
from napari_gemini.study.summary import LabelSummary, summarise
from napari_gemini.volumes.reading import read_labels
from napari_gemini.widgets.study.colours import label_name

COLUMNS = ("Case", "Role", "Labels", "Classes", "Slices", "Status", "Saved")
_STATUS = {"todo": "to do", "started": "started", "done": "finished"}


@dataclass(frozen=True)
class CaseRow:
    """One row of the table.

    Parameters
    ----------
    case, role, status
        As in the study.
    summary
        What the labels hold; None while unknown or without labels.
    saved
        When labels were last written, None without labels.
    image_found
        Whether the image is where the study says.
    problem
        Why the labels cannot be read, empty when they can.
    """

    case: str
    role: str
    status: str
    summary: LabelSummary | None = None
    saved: datetime | None = None
    image_found: bool = True
    problem: str = ""

    @classmethod
    def of(cls, case: Case) -> CaseRow:
        """Return what ``study.json`` alone says of a case."""
        return cls(case.id, case.role, case.status)

    def updated(self, case: Case) -> CaseRow:
        """Return the row with role and status as they are now."""
        return replace(self, role=case.role, status=case.status)

    def text(self, column: str, scheme: LabelScheme) -> str:
        """Return what a column shows."""
        if column == "Case":
            return self.case if self.image_found else f"{self.case} (image missing)"
        if column == "Role":
            return self.role
        if column == "Status":
            return _STATUS[self.status]
        if self.problem:
            return "damaged" if column == "Labels" else ""
        if column == "Saved":
            return "" if self.saved is None else clock(self.saved)
        if self.summary is None:
            return "none" if column == "Labels" and self.saved is None else ""
        if column == "Labels":
            return f"{len(self.known(scheme))}/{len(scheme.values)}"
        if column == "Slices":
            return f"{self.summary.slices}/{self.summary.of}"
        names = [label_name(scheme, value) for value in self.summary.values]
        return ", ".join(names)

    def sort_key(self, column: str, scheme: LabelScheme) -> Any:
        """Return what a column is sorted by; always comparable within a column."""
        if column == "Labels":
            return -1 if self.summary is None else len(self.known(scheme))
        if column == "Slices":
            return -1.0 if self.summary is None else self.summary.slices / self.summary.of
        if column == "Saved":
            return 0.0 if self.saved is None else self.saved.timestamp()
        if column == "Status":
            return list(_STATUS).index(self.status)
        return natural(self.text(column, scheme))

    def known(self, scheme: LabelScheme) -> tuple[int, ...]:
        """Return the labels of the scheme that are present."""
        found = () if self.summary is None else self.summary.values
        return tuple(value for value in found if value in scheme.names)

    def matches(self, words: str, scheme: LabelScheme) -> bool:
        """Whether every word is somewhere in the row's texts."""
        text = " ".join(self.text(column, scheme) for column in COLUMNS).lower()
        return all(word in text for word in words.lower().split())


@dataclass
class RowReader:
    """Reads rows, label files only when they have changed since.

    Parameters
    ----------
    study
        The study.
    """

    study: Study
    _known: dict[Path, tuple[tuple[int, int], LabelSummary]] = field(default_factory=dict)

    def read(self, case: Case) -> CaseRow:
        """Return the full row of a case."""
        row = CaseRow.of(case)
        try:
            self.study.image_path(case.id)
        except GeminiError:
            row = replace(row, image_found=False)
        try:
            if not self.study.has_labels(case.id):
                return row
            path = self.study.labels_path(case.id)
            files = sorted(path.glob("*.*")) if path.is_dir() else [path]
            stats = [file.stat() for file in files]
        except (GeminiError, OSError):
            return row
        saved = datetime.fromtimestamp(max(s.st_mtime for s in stats)).astimezone()
        stamp = (sum(s.st_size for s in stats), max(s.st_mtime_ns for s in stats))
        known = self._known.get(path)
        if known is not None and known[0] == stamp:
            return replace(row, saved=saved, summary=known[1])
        try:
            summary = self._summary(case)
        except GeminiError as error:
            return replace(row, saved=saved, problem=str(error))
        self._known[path] = (stamp, summary)
        return replace(row, saved=saved, summary=summary)

    def _summary(self, case: Case) -> LabelSummary:
        # The map alone, without its image: a table of a hundred cases must not read them all.
        path = self.study.labels_path(case.id)
        if not path.is_dir():
            volume = read_labels(path)
            return summarise(volume.data, volume.affine)
        return _summary_of_masks(path, self.study.scheme)

    def remember(self, case_id: str, summary: LabelSummary) -> None:
        """Take a summary that is known from saving."""
        path = self.study.labels_path(case_id)
        stat = path.stat()
        self._known[path] = ((stat.st_size, stat.st_mtime_ns), summary)


def _summary_of_masks(folder: Path, scheme: LabelScheme) -> LabelSummary:
    """Summarise the masks of a case whose labels may overlap."""
    union: Any = None
    values = []
    affine = None
    for value, name in scheme.file_names().items():
        for path in folder.glob(f"{name}.*"):
            mask = read_labels(path)
            inside = mask.data != 0
            if inside.any():
                values.append(value)
            union = inside if union is None else union | inside
            affine = mask.affine
    if union is None or affine is None:
        return LabelSummary((), 0, 1)
    flat = summarise(union.astype("uint8"), affine)
    return LabelSummary(tuple(values), flat.slices, flat.of)


def clock(time: datetime) -> str:
    """Return the time of today, the date of other days."""
    today = datetime.now().astimezone().date()
    return f"{time:%H:%M}" if time.date() == today else f"{time:%d %b %Y}"


def natural(text: str) -> list[tuple[int, int, str]]:
    """Return a key that sorts ``case2`` before ``case10``."""
    return [
        (0, int(part), "") if part.isdigit() else (1, 0, part.lower())
        for part in re.split(r"(\d+)", text)
        if part
    ]
