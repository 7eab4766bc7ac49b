"""Keys of reviewing: bound once in a viewer, they act on the table that was used last."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, Protocol
from weakref import WeakKeyDictionary, ref

from napari_gemini.widgets.common.keys import bind, unbind

if TYPE_CHECKING:
    from napari_gemini.widgets.common.session import Session

NEXT_WORST, ACCEPT, CORRECT, REJECT = "Shift-W", "Shift-Y", "Shift-E", "Shift-R"

#: Key and what it does, for tooltips and the documentation.
KEYS = {
    NEXT_WORST: "Show the next worst result without a verdict",
    ACCEPT: "Accept the shown result",
    CORRECT: "Correct the shown prediction by hand",
    REJECT: "Reject the shown result",
}


class Reviewer(Protocol):
    """What the keys act on."""

    def next_worst(self) -> None:
        """Go to the most doubtful result without a verdict."""

    def accept(self) -> None:
        """Accept the selected result."""

    def correct(self) -> None:
        """Take the selected prediction into hand."""

    def reject(self) -> None:
        """Reject the selected result."""


_METHODS = {NEXT_WORST: "next_worst", ACCEPT: "accept", CORRECT: "correct", REJECT: "reject"}


class ReviewKeys:
    """The keys of one viewer.

    Parameters
    ----------
    session
        Held weakly.
    """

    def __init__(self, session: Session) -> None:
        self._session = ref(session)
        self._reviewers: list[ref[Any]] = []
        self.bound: list[str] = []

    def use(self, reviewer: Reviewer) -> None:
        """Let the keys act on a reviewer from now on."""
        if not self._reviewers:
            self._bind()
        self._reviewers = [r for r in self._reviewers if r() not in (None, reviewer)]
        self._reviewers.append(ref(reviewer))

    def leave(self, reviewer: Reviewer) -> None:
        """Let the keys act on the reviewer before, and give them back after the last."""
        self._reviewers = [r for r in self._reviewers if r() not in (None, reviewer)]
        session = self._session()
        if self._reviewers or session is None or session.closed:
            return
        for key in self.bound:
            unbind(session.viewer, key)
        self.bound = []

    def _bind(self) -> None:
        session = self._session()
        if session is None:
            return
        weak = ref(self)

        def act(method: str) -> None:
            keys = weak()
            reviewer = keys._reviewers[-1]() if keys is not None and keys._reviewers else None
            if reviewer is not None:
                getattr(reviewer, method)()

        for key, method in _METHODS.items():
            if bind(session.viewer, key, functools.partial(act, method), KEYS[key]):
                self.bound.append(key)


_keys: WeakKeyDictionary[Any, ReviewKeys] = WeakKeyDictionary()


def review_keys(session: Session) -> ReviewKeys:
    """Return the keys of a session's viewer."""
    found = _keys.get(session)
    if found is None:
        found = _keys[session] = ReviewKeys(session)
    return found
