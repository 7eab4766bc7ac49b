"""Label schemes: which values a label map may hold and what they mean."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from napari_gemini.errors import InputError

BACKGROUND = 0
IGNORE_INDEX = -1
"""Class index of voxels that nothing counts, in what :meth:`LabelScheme.to_indices` returns."""

MAX_VALUE = 65535

# Okabe and Ito's colours (readable with colour blindness), then softer ones.
_PALETTE = (
    "#e69f00", "#56b4e9", "#009e73", "#f0e442", "#0072b2", "#d55e00", "#cc79a7", "#999933",
    "#882255", "#44aa99", "#ddcc77", "#aa4499", "#88ccee", "#117733", "#cc6677", "#332288",
)  # fmt: skip
_KEYS = "123456789"
_PIECE = 1 << 20


class LabelScheme(BaseModel):
    """Names, colours and keys of the labels of a study.

    Attributes
    ----------
    names
        Name of each label value; background (0) is implied and never listed.
    colors
        ``#rrggbb`` of each label; filled in from a palette.
    keys
        The key that selects a label; the first nine get 1 to 9.
    overlapping
        Whether labels may overlap: one mask per label instead of one map of integers.
    ignore
        The value painted over what neither losses nor scores shall count (a lesion, an implant).
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    names: dict[int, str]
    colors: dict[int, str] = Field(default_factory=dict)
    keys: dict[int, str] = Field(default_factory=dict)
    overlapping: bool = False
    ignore: int | None = None

    @field_validator("names", mode="before")
    @classmethod
    def _without_background(cls, names: object) -> object:
        if not isinstance(names, dict):
            return names
        return {v: n for v, n in names.items() if str(v).strip() != str(BACKGROUND)}

    @field_validator("names")
    @classmethod
    def _sensible_names(cls, names: dict[int, str]) -> dict[int, str]:
        if not names:
            raise ValueError("a label scheme needs at least one label besides background")
        cleaned = {value: name.strip() for value, name in sorted(names.items())}
        if any(value < 1 or value > MAX_VALUE for value in cleaned):
            raise ValueError(f"label values lie between 1 and {MAX_VALUE}")
        if any(not name for name in cleaned.values()):
            raise ValueError("every label needs a name")
        slugs = [slug(name) for name in cleaned.values()]
        twice = sorted({s for s in slugs if slugs.count(s) > 1})
        if twice:
            raise ValueError(f"two labels have the same name ({twice[0]})")
        return cleaned

    @model_validator(mode="after")
    def _complete(self) -> LabelScheme:
        if self.ignore is not None:
            if self.ignore in self.names or not 1 <= self.ignore <= MAX_VALUE:
                raise ValueError(
                    f"the ignore label ({self.ignore}) has to be a value of its own "
                    f"between 1 and {MAX_VALUE}"
                )
            if slug("ignore") in map(slug, self.names.values()):
                raise ValueError('no label may be called "ignore" beside the ignore label')
        for given in (self.colors, self.keys):
            strangers = sorted(set(given) - set(self.names) - {self.ignore})
            if strangers:
                raise ValueError(
                    f"a colour or key is given for label {strangers[0]}, which is none"
                )
        bad = [c for c in self.colors.values() if not re.fullmatch(r"#[0-9a-fA-F]{6}", c)]
        if bad:
            raise ValueError(f"{bad[0]!r} is no colour of the form #rrggbb")
        colors = {
            value: self.colors.get(value, _PALETTE[position % len(_PALETTE)])
            for position, value in enumerate(self.names)
        }
        keys = {
            v: k for v, k in zip(self.names, _KEYS, strict=False) if k not in self.keys.values()
        }
        if self.ignore is not None:
            colors[self.ignore] = self.colors.get(self.ignore, "#808080")
        object.__setattr__(self, "colors", colors)
        object.__setattr__(self, "keys", dict(sorted({**keys, **self.keys}.items())))
        return self

    @property
    def values(self) -> tuple[int, ...]:
        """Label values in ascending order, without background and ignore."""
        return tuple(self.names)

    @property
    def allowed(self) -> frozenset[int]:
        """Every value that a label map may hold, background and ignore included."""
        extra = () if self.ignore is None else (self.ignore,)
        return frozenset((BACKGROUND, *self.names, *extra))

    @property
    def classes(self) -> int:
        """Output channels that a network needs: labels, and background where they exclude."""
        return len(self.names) + (0 if self.overlapping else 1)

    def file_names(self) -> dict[int, str]:
        """Return the file name (without suffix) of each mask of an overlapping scheme."""
        return {value: slug(name) for value, name in self.names.items()}

    def check(self, labels: NDArray[np.integer], name: str | Path) -> None:
        """Refuse a label map with values outside the scheme.

        Parameters
        ----------
        labels : (*shape) int
            The label map.
        name
            What the message calls it.

        Raises
        ------
        InputError
            Naming the values.
        """
        allowed = self.allowed
        found = {int(v) for v in unique_values(labels)}
        strangers = sorted(found - allowed)
        if strangers:
            shown = ", ".join(map(str, strangers[:5])) + (", ..." if len(strangers) > 5 else "")
            raise InputError(
                f"{name} holds the label {shown}, which the study's label scheme does not have "
                f"({', '.join(map(str, sorted(allowed)))}): correct the labels or the scheme."
            )

    def to_indices(self, labels: NDArray[np.integer]) -> NDArray[np.int16]:
        """Turn label values into class numbers 0, 1, 2, ...

        Parameters
        ----------
        labels : (*shape) int
            Values of the scheme.

        Returns
        -------
        (*shape) int16
            0 for background, k for the k-th label in ascending order, :data:`IGNORE_INDEX` for
            the ignore label.

        Raises
        ------
        InputError
            If a value is not in the scheme.
        """
        self.check(labels, "A label map")
        highest = max(*self.names, self.ignore or 0)
        table = np.zeros(highest + 1, dtype=np.int16)
        for number, value in enumerate(self.names, start=1):
            table[value] = number
        if self.ignore is not None:
            table[self.ignore] = IGNORE_INDEX
        return np.asarray(table[np.asarray(labels)])

    def from_indices(self, indices: NDArray[np.integer]) -> NDArray[np.uint16]:
        """Turn class numbers (see :meth:`to_indices`) back into label values: (*shape) uint16."""
        table = np.array([BACKGROUND, *self.names, self.ignore or BACKGROUND], dtype=np.uint16)
        return np.asarray(table[np.asarray(indices)])


def slug(name: str) -> str:
    """Return a name fit for a file: letters, digits, dot, dash and underscore, lower case."""
    return re.sub(r"[^a-z0-9._-]+", "_", name.strip().lower()).strip("._") or "label"


def unique_values(labels: NDArray[np.integer]) -> NDArray[np.integer]:
    """Return the sorted distinct values; for small integers much faster than ``np.unique``."""
    labels = np.asarray(labels)
    if labels.dtype in (np.uint8, np.uint16):
        # In pieces, since bincount widens to 64 bits, and in the order of memory.
        flat = labels.ravel(order="K")
        seen = np.zeros(np.iinfo(labels.dtype).max + 1, dtype=bool)
        for start in range(0, flat.size, _PIECE):
            seen |= np.bincount(flat[start : start + _PIECE], minlength=seen.size) > 0
        return np.flatnonzero(seen)
    return np.unique(labels)


def scheme_from_values(values: set[int], *, ignore: int | None = None) -> LabelScheme:
    """Make a scheme with plain names for values found in label maps.

    Raises
    ------
    InputError
        If there is no value besides background, or the values cannot be labels.
    """
    wanted = sorted(values - {BACKGROUND, ignore})
    if not wanted:
        raise InputError("The label maps hold nothing but background: name the right folder.")
    if wanted[0] < 0 or wanted[-1] > MAX_VALUE:
        raise InputError(
            f"The label maps hold the value {wanted[0] if wanted[0] < 0 else wanted[-1]}, and "
            f"labels lie between 0 and {MAX_VALUE}: name a folder of label maps."
        )
    return LabelScheme(names={value: f"label {value}" for value in wanted}, ignore=ignore)
