"""Carries the chosen layer and copies results, on behalf of the dock."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from psygnal import Signal

from napari_gemini.widgets.common.session import Session
from napari_gemini.widgets.pair.apply_layers import Finish, carry_layer, side_of
from napari_gemini.widgets.pair.apply_panel import ApplyPanel
from napari_gemini.widgets.pair.background import in_background
from napari_gemini.widgets.pair.export import export_pair
from napari_gemini.widgets.pair.partner import PartnerView
from napari_gemini.widgets.pair.shown import put


class Applying:
    """What the panel for applying does.

    Parameters
    ----------
    session
        Its pair is applied.
    panel
        The form.
    partner
        Gives the canvas of the moving scan, None while there is none.
    """

    #: (level, sentence)
    said = Signal(str, str)

    def __init__(
        self, session: Session, panel: ApplyPanel, partner: Callable[[], PartnerView | None]
    ) -> None:
        self._session, self._panel, self._partner = session, panel, partner
        self._closed = False

    def show_side(self) -> None:
        """Show which scan the chosen layer lies on."""
        pair, layer = self._session.pair, self._panel.chosen
        if pair is not None and layer is not None:
            partner = self._partner()
            there = partner is not None and partner.alive and layer in partner.model.layers
            self._panel.set_side(side_of(pair, layer, "moving" if there else "fixed"))

    def apply(self) -> None:
        """Carry the chosen layer to the other scan."""
        pair, layer = self._session.pair, self._panel.chosen
        if pair is None or layer is None:
            self.said.emit("warning", "Choose a layer that is still open.")
            return
        side = self._panel.side.currentData()
        self._panel.set_busy(True)

        def show(finish: Finish) -> None:
            if self._closed:
                return
            self._panel.set_busy(False)
            partner = self._partner()
            if self._session.pair is not pair or partner is None:
                return
            # What was on the moving scan is on the fixed one now, and the other way round.
            viewer = self._session.viewer if side == "moving" else partner.model
            made = put(viewer, finish())
            self.said.emit("info", f"{made.name} was added.")

        def failed(sentence: str) -> None:
            if not self._closed:
                self._panel.set_busy(False)
                self.said.emit("warning", sentence)

        in_background(lambda: carry_layer(pair, layer, side), show, failed)

    def export(self, folder: Path) -> None:
        """Copy field, maps and report into a folder."""
        pair = self._session.pair
        if pair is None:
            return

        def say(level: str, sentence: str) -> None:
            if not self._closed:
                self.said.emit(level, sentence)

        in_background(
            lambda: export_pair(pair, folder),
            lambda made: say("info", f"Copied to {made}."),
            lambda sentence: say("warning", sentence),
        )

    def tear_down(self) -> None:
        """Do nothing any more when work in the background ends."""
        self._closed = True
