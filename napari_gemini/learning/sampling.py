"""Which scans meet in a step: pairs without self pairs, within groups, and labelled scans."""

from __future__ import annotations

import torch

from napari_gemini.errors import StudyError


class PairSampler:
    """Draw ordered pairs of different cases, both from one group.

    Parameters
    ----------
    groups
        Group of each case; None is a group of its own.

    Raises
    ------
    StudyError
        If a group has a single case.
    """

    def __init__(self, groups: list[str | None]) -> None:
        members: dict[str | None, list[int]] = {}
        for position, group in enumerate(groups):
            members.setdefault(group, []).append(position)
        self._groups = list(members.values())
        lonely = [group for group, cases in members.items() if len(cases) == 1]
        if lonely:
            which = "One scan has no group" if lonely[0] is None else f"The group '{lonely[0]}'"
            has = ", so it" if lonely[0] is None else " has one scan that is no test case, which"
            raise StudyError(
                f"{which}{has} has no partner to be paired with; give it the group of another "
                "scan in study.json, add scans to its group, or remove the groups."
            )
        self._sizes = torch.tensor([float(len(cases)) for cases in self._groups])

    def draw(
        self, count: int, generator: torch.Generator, first: list[int] | None = None
    ) -> list[tuple[int, int]]:
        """Return `count` pairs (a, b), a != b, every case equally often in the long run.

        Parameters
        ----------
        count
            Number of pairs.
        generator
            Source of all randomness.
        first
            Cases that `a` is drawn from, all of them by default; `b` is any case of its group.
        """
        if first is not None:
            return [(a, self.partner(a, generator)) for a in draw_cases(first, count, generator)]
        picks = torch.multinomial(self._sizes, count, replacement=True, generator=generator)
        pairs = []
        for pick in picks.tolist():
            cases = self._groups[pick]
            one, other = torch.randperm(len(cases), generator=generator)[:2].tolist()
            pairs.append((cases[one], cases[other]))
        return pairs

    def partner(self, case: int, generator: torch.Generator) -> int:
        """Return another case of a case's group."""
        (group,) = (cases for cases in self._groups if case in cases)
        others = [other for other in group if other != case]
        return others[int(torch.randint(len(others), (), generator=generator))]


def draw_cases(cases: list[int], count: int, generator: torch.Generator) -> list[int]:
    """Draw `count` of `cases`, without repetition as far as there are enough."""
    drawn: list[int] = []
    while len(drawn) < count:
        order = torch.randperm(len(cases), generator=generator).tolist()
        drawn += [cases[i] for i in order[: count - len(drawn)]]
    return drawn
