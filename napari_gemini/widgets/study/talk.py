"""What labelling says to the user: sentences in the docks, and offers with buttons."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from weakref import ref

from psygnal import Signal

from napari_gemini.errors import GeminiError

if TYPE_CHECKING:
    from napari_gemini.widgets.common.session import Session


@dataclass(frozen=True)
class Offer:
    """Something the user may choose to do.

    Parameters
    ----------
    sentence
        What it is about.
    actions
        Words on the buttons, and what they do.
    level
        How serious it is: info, warning or error.
    """

    sentence: str
    actions: tuple[tuple[str, Callable[[], Any]], ...]
    level: str = "info"


class Talk:
    """Sentences and offers of a session.

    Parameters
    ----------
    session
        Held weakly.
    """

    offers_changed = Signal()

    def __init__(self, session: Session) -> None:
        self._session = ref(session)
        self.offers: dict[str, Offer] = {}

    def tell(self, level: str, sentence: str) -> None:
        """Show a sentence in the docks, or in napari's corner where none is open."""
        session = self._session()
        if session is None or session.closed:
            return
        if len(session.message):
            session.message.emit(level, sentence)
            return
        from napari.utils.notifications import show_info, show_warning

        (show_info if level == "info" else show_warning)(sentence)

    def attempt(self, action: Callable[[], Any]) -> bool:
        """Do something; what goes wrong is told in a sentence. Returns whether it went well."""
        try:
            action()
        except GeminiError as error:
            self.tell("error", str(error))
            return False
        return True

    def offer(self, key: str, offer: Offer) -> None:
        """Offer something until it is done or withdrawn; one offer for each key."""
        self.offers[key] = offer
        self.offers_changed.emit()

    def withdraw(self, key: str) -> None:
        """Offer something no longer."""
        if self.offers.pop(key, None) is not None:
            self.offers_changed.emit()

    def withdraw_all(self) -> None:
        """Offer nothing."""
        if self.offers:
            self.offers.clear()
            self.offers_changed.emit()
