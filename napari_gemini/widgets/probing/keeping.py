"""Where landmarks are kept: in the study, or for as long as the window is open."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from weakref import WeakKeyDictionary

from napari_gemini.study.landmarks import LandmarkPair, swapped
from napari_gemini.widgets.common.session import Session
from napari_gemini.widgets.pair.pair_data import PairData

#: Session -> (fixed, moving) -> landmarks that no study and no file has.
_unsaved: WeakKeyDictionary[Session, dict[tuple[str, str], list[LandmarkPair]]]
_unsaved = WeakKeyDictionary()


def _key(pair: PairData) -> tuple[str, str]:
    return str(pair.fixed.path or id(pair.fixed)), str(pair.moving.path or id(pair.moving))


def in_study(session: Session, pair: PairData) -> bool:
    """Whether both scans of a pair are cases of the open study."""
    return session.study is not None and None not in (pair.fixed_case, pair.moving_case)


def load(session: Session, pair: PairData) -> list[LandmarkPair]:
    """Return the landmarks of a pair, whichever way round they were set.

    Raises
    ------
    StudyError
        If the study's file cannot be understood.
    """
    kept = _unsaved.get(session, {})
    here, there = _key(pair)
    if (here, there) in kept:
        return list(kept[here, there])
    if (there, here) in kept:
        return swapped(kept[there, here])
    if in_study(session, pair):
        assert session.study is not None
        return session.study.landmarks(str(pair.fixed_case), str(pair.moving_case))
    return []


def save(session: Session, pair: PairData, landmarks: list[LandmarkPair]) -> str:
    """Keep the landmarks of a pair and say where.

    Raises
    ------
    GeminiError
        If the study cannot be written; they stay in memory then.
    """
    keep = _unsaved.setdefault(session, {})
    here, there = _key(pair)
    keep.pop((there, here), None)
    keep[here, there] = list(landmarks)
    if not in_study(session, pair):
        return "Not in a study: export the landmarks to keep them." if landmarks else ""
    if session.read_only:
        return "This window only reads the study: export the landmarks to keep them."
    assert session.study is not None
    session.study.save_landmarks(str(pair.fixed_case), str(pair.moving_case), landmarks)
    forget(session, pair)
    return f"saved {datetime.now():%H:%M:%S} in the study"


def forget(session: Session, pair: PairData) -> None:
    """Note that the landmarks of a pair are safe on disk."""
    keep: dict[Any, Any] = _unsaved.get(session, {})
    here, there = _key(pair)
    keep.pop((here, there), None)


def unsaved(session: Session) -> int:
    """Return how many landmarks would go with the window."""
    return sum(len(landmarks) for landmarks in _unsaved.get(session, {}).values())
