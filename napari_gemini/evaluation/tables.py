"""What the report templates draw: tables that sort, pictures with captions, tiles with a number."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from napari_gemini.evaluation.html import number


@dataclass(frozen=True)
class Column:
    """Head of a column; `sorted` is ``ascending`` or ``descending`` where rows come so."""

    title: str
    text: bool = False
    sorted: str = ""
    hint: str = ""


@dataclass(frozen=True)
class Cell:
    """One cell: a number to sort by and how it is shown, a text, or a small picture."""

    shown: str = ""
    value: str = ""
    text: bool = False
    picture: str = ""
    color: str = ""
    marks: Sequence[str] = ()


@dataclass(frozen=True)
class Table:
    """Rows under columns."""

    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]


@dataclass(frozen=True)
class KeyEntry:
    """One colour of a picture and what it stands for."""

    name: str
    color: str
    line: bool = False
    dashed: bool = False


@dataclass(frozen=True)
class Picture:
    """A picture with title and caption; `source` is a data URI, empty where there is none."""

    title: str
    caption: str
    source: str = ""
    key: Sequence[KeyEntry] = field(default_factory=tuple)
    wide: bool = False
    plot: bool = False


@dataclass(frozen=True)
class Tile:
    """One headline number."""

    name: str
    value: str
    hint: str = ""


def numeric(value: Any, digits: int = 3, shown: str | None = None) -> Cell:
    """Return the cell of a number; None sorts last and shows as a dash."""
    key = "" if value is None else repr(float(value))
    return Cell(shown=number(value, digits) if shown is None else shown, value=key)


def text(shown: str, color: str = "", marks: Sequence[str] = ()) -> Cell:
    """Return a cell of text."""
    return Cell(shown=shown, text=True, color=color, marks=marks)
