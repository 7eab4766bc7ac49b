"""Split files: who is labelled, who may be used and who is kept for the final score."""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from napari_gemini.errors import InputError
from napari_gemini.study.files import Role
from napari_gemini.study.scheme import LabelScheme


class Split(BaseModel):
    """A few-shot protocol.

    Attributes
    ----------
    labels
        Name of each label value (0 is background).
    labelled
        For each seed name, the ids whose labels may be used.
    pool
        Ids whose image may be used.
    test
        Ids for the final score only.
    same_person
        Groups of ids that belong to one person.
    overlapping, ignore
        See :class:`napari_gemini.study.scheme.LabelScheme`.
    """

    model_config = ConfigDict(extra="ignore")

    labels: dict[int, str] = Field(default_factory=dict)
    labelled: dict[str, list[str]]
    pool: list[str] = Field(default_factory=list)
    test: list[str] = Field(default_factory=list)
    same_person: list[list[str]] = Field(default_factory=list)
    overlapping: bool = False
    ignore: int | None = None

    def scheme(self) -> LabelScheme | None:
        """Return the label scheme, or None when the split names no labels."""
        if not any(self.labels):
            return None
        return LabelScheme(names=self.labels, overlapping=self.overlapping, ignore=self.ignore)

    def labelled_ids(self, seed: str | None) -> list[str]:
        """Return the labelled ids of one seed name (the first one when none is given).

        Raises
        ------
        InputError
            If the split has no such seed.
        """
        if seed is None:
            return next(iter(self.labelled.values()))
        if seed not in self.labelled:
            raise InputError(
                f"The split has no seed {seed!r}: choose one of {', '.join(self.labelled)}."
            )
        return self.labelled[seed]

    def roles(self, seed: str | None, *, all_labels: bool = False) -> dict[str, Role]:
        """Return the role of every id: labelled, unlabelled or test.

        Parameters
        ----------
        seed
            Which labelled ids count; the first seed when not given.
        all_labels
            Whether every id of the pool counts as labelled (full supervision).

        Returns
        -------
        dict
            In the order labelled, rest of the pool, test.

        Raises
        ------
        InputError
            If the split has no such seed.
        """
        chosen = self.labelled_ids(seed)
        rest: Role = "labelled" if all_labels else "unlabelled"
        roles: dict[str, Role] = dict.fromkeys(chosen, "labelled")
        roles |= {case: rest for case in self.pool if case not in roles}
        return roles | dict.fromkeys(self.test, "test")

    def persons(self) -> dict[str, str]:
        """Return the person of every id that shares its person with another."""
        return {case: members[0] for members in self.same_person for case in members}

    def check(self, path: Path) -> None:
        """Refuse a split that would leak test cases into training.

        Raises
        ------
        InputError
            Naming the case.
        """
        if not self.labelled or any(not ids for ids in self.labelled.values()):
            raise InputError(f"{path} names no labelled case: list some under 'labelled'.")
        used = set(self.pool).union(*self.labelled.values())
        test = set(self.test)
        for case in sorted(used & test):
            raise InputError(
                f"{path} has the case {case} both among those used for training and in 'test': "
                "keep it in one of them."
            )
        for members in self.same_person:
            if test & set(members) and used & set(members):
                raise InputError(
                    f"{path} has scans of one person ({', '.join(members)}) both in training and "
                    "in 'test': keep a person on one side."
                )


def read_split(path: str | Path) -> Split:
    """Read and check a split file.

    Parameters
    ----------
    path
        JSON with the keys of :class:`Split`; other keys are comments.

    Returns
    -------
    Split
        The protocol.

    Raises
    ------
    InputError
        If the file is missing, no split, or lets test cases leak.
    """
    path = Path(path)
    try:
        split = Split.model_validate(json.loads(path.read_text(encoding="utf-8")))
        split.scheme()
    except FileNotFoundError:
        raise InputError(f"The split file {path} does not exist: check the name.") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise InputError(
            f"{path} is not a split file ({where}: {first['msg']}): it needs 'labelled', 'pool' "
            "and 'test'."
        ) from None
    except (OSError, ValueError) as error:
        raise InputError(f"The split file {path} cannot be read ({error}): mend it.") from error
    split.check(path)
    return split
