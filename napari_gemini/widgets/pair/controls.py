"""What the tabs Look and Maps switch, by the mouse and by keys."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from napari_gemini.widgets.pair import keys
from napari_gemini.widgets.pair.composition import MODES
from napari_gemini.widgets.pair.evidence_panel import EvidencePanel
from napari_gemini.widgets.pair.folds import Fold
from napari_gemini.widgets.pair.look_panel import STEPS, LookPanel
from napari_gemini.widgets.pair.map_layers import MAPS
from napari_gemini.widgets.pair.pair_view import PairView


class Controls:
    """Connects two panels and some keys to the view of a pair.

    Parameters
    ----------
    look, maps
        The panels.
    """

    def __init__(self, look: LookPanel, maps: EvidencePanel) -> None:
        self.look, self.maps = look, maps
        #: What is shown; None without a pair.
        self.view: PairView | None = None
        self._folds: list[Fold] = []
        self._fold = -1
        look.view_changed.connect(self.set_view)
        look.follow_changed.connect(self._set_follow)
        look.mode_changed.connect(self._set_mode)
        look.amount_changed.connect(self._set_amount)
        look.t_changed.connect(self._set_t)
        maps.grid_toggled.connect(self._set_grid)
        maps.arrows_toggled.connect(self._set_arrows)
        maps.spacing_changed.connect(self._set_spacing)
        maps.map_toggled.connect(self._set_map)
        maps.fold_chosen.connect(self.go_to_fold)

    def show(self, view: PairView) -> None:
        """Turn to a pair that has just been opened; what the panels show holds for it as well."""
        self.view = view
        view.toggled.connect(self._show_toggles)
        view.partner_words.connect(self.look.partner.setText, check_nargs=False)
        view.composition.mode = self.look.mode.currentData()
        view.set_t(self.look.t.value() / STEPS)
        self.set_view("side")
        pair = view.pair
        available = {stem for stem in MAPS if pair.has(stem)}
        self.maps.set_pair(available, view.deformation.spacing, pair.unit)
        view.cursor.follows = self.look.follow.isChecked()

    def forget(self) -> None:
        """Let go of the pair."""
        self.view = None
        self._folds, self._fold = [], -1

    def set_folds(self, folds: list[Fold] | None) -> None:
        """Show the folds of the pair; None where they are not known."""
        self._folds, self._fold = folds or [], -1
        if self.view is not None:
            self.maps.set_folds(folds, self.view.pair.unit, self.view.pair.ndim)

    # -- the panels ----------------------------------------------------------------------------

    def set_view(self, view: str) -> None:
        """Show ``side`` or ``overlay``."""
        if self.view is not None:
            self.view.set_view("overlay" if view == "overlay" else "side")
            self.look.set_view(view)
            self._show_amount()

    def _set_follow(self, on: bool) -> None:
        if self.view is not None:
            self.view.cursor.follows = on

    def _set_mode(self, mode: Any) -> None:
        if self.view is not None:
            self.view.composition.set_mode(mode)
            self._show_amount()

    def _set_amount(self, amount: float) -> None:
        if self.view is not None:
            self.view.composition.set_amount(amount)
            self._show_amount()

    def _show_amount(self) -> None:
        if self.view is not None:
            look = self.view.composition
            name = MODES[look.mode][1]
            self.look.show_amount(look.amounts[look.mode], name, look.amount_words())

    def _set_map(self, stem: str, on: bool) -> None:
        if self.view is not None:
            self.view.set_map(stem, on)

    def _set_t(self, t: float) -> None:
        if self.view is not None:
            self.view.set_t(t)

    def _set_grid(self, on: bool) -> None:
        if self.view is not None:
            self.view.deformation.set_grid(on)

    def _set_spacing(self, spacing: float) -> None:
        if self.view is not None:
            self.view.deformation.set_spacing(spacing)

    def _set_arrows(self, on: bool) -> None:
        if self.view is not None:
            self.view.deformation.set_arrows(on)
            self.maps.show_arrows(on, self._arrow_words())

    def _arrow_words(self) -> str:
        if self.view is None or not self.view.deformation.shows_arrows:
            return ""
        return f"Blue: 0, red: {self.view.deformation.longest:.3g} {self.view.pair.unit} and more."

    def _show_toggles(self) -> None:
        if self.view is None:
            return
        for stem in MAPS:
            self.maps.show_map(stem, self.view.shows(stem))
        self.maps.show_grid(self.view.deformation.shows_grid)
        self.maps.show_arrows(self.view.deformation.shows_arrows, self._arrow_words())

    def go_to_fold(self, row: int) -> None:
        """Show a fold by its row in the table."""
        if self.view is not None and 0 <= row < len(self._folds):
            self._fold = row
            self.maps.select_fold(row)
            self.view.set_map("folds", True)
            self.maps.show_map("folds", True)
            self.view.go_to_voxel(self._folds[row].voxel)

    # -- the keys ------------------------------------------------------------------------------

    @property
    def actions(self) -> dict[str, Callable[[], None]]:
        """What each key does; nothing without a pair."""
        maps = self.maps
        return {
            keys.VIEW: self._turn_view,
            keys.MODE: self._next_mode,
            keys.WARPED: self._turn_warped,
            keys.DEFORMED: self._turn_deformed,
            keys.GRID: lambda: self._click(maps.grid),
            keys.ARROWS: lambda: self._click(maps.arrows),
            keys.JACOBIAN: lambda: self._click(maps.maps["log_jacobian"]),
            keys.FOLD: self._next_fold,
        }

    def _click(self, box: Any) -> None:
        if self.view is not None and box.isEnabled():
            box.click()

    def _turn_view(self) -> None:
        if self.view is not None:
            self.set_view("side" if self.view.view == "overlay" else "overlay")

    def _overlay(self) -> bool:
        """Turn to the fixed scan's space; False where it was shown already, or without a pair."""
        if self.view is None or self.view.view == "overlay":
            return False
        self.set_view("overlay")
        return True

    def _next_mode(self) -> None:
        if self.view is not None and not self._overlay():
            box = self.look.mode
            box.setCurrentIndex((box.currentIndex() + 1) % box.count())

    def _turn_warped(self) -> None:
        if self.view is not None and not self._overlay():
            self.view.composition.turn()

    def _turn_deformed(self) -> None:
        if self.view is not None:
            self._overlay()
            self.look.t.setValue(0 if self.look.t.value() > STEPS // 2 else STEPS)

    def _next_fold(self) -> None:
        if self._folds:
            self.go_to_fold((self._fold + 1) % len(self._folds))
