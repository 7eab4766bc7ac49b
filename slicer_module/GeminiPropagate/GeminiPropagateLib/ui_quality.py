"""Section Quality: the deformation, maps over the target, blink, warnings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from GeminiPropagateLib import qa
from GeminiPropagateLib.scene_nodes import TargetNodes, nodes_of_target
from GeminiPropagateLib.ui_tools import alive, blocked

_BLINK_MS = 700
_LEVELS = 5


class QualitySection:
    """Shows one target; finds its nodes anew at every step, since the user may delete any."""

    def __init__(self, panel: Any) -> None:
        self._panel = panel
        self._ui = ui = panel.ui
        self._target: Any = None
        self._blink: qa.Blink | None = None
        self._timer = qt.QTimer()
        self._timer.interval = _BLINK_MS
        self._timer.timeout.connect(self._blink_step)
        self._modes = {
            qa.GRID: ui.deformationGridButton,
            qa.GLYPH: ui.deformationGlyphButton,
            qa.CONTOUR: ui.deformationContourButton,
        }
        self._overlays = {
            qa.WARPED: ui.warpedButton,
            qa.LOG_JACOBIAN: ui.jacobianButton,
            qa.GSS: ui.gssButton,
            qa.GVS: ui.gvsButton,
            qa.AGREEMENT: ui.agreementButton,
        }
        ui.arrowsLabel.text = _(
            "Slicer draws from the atlas to the target, the inverse of the stored field."
        )
        ui.deformationOffButton.checked = True
        for button in (ui.deformationOffButton, *self._modes.values()):
            button.toggled.connect(self._mode_changed)
        for overlay, button in self._overlays.items():
            button.toggled.connect(_overlay_handler(self, overlay))
        ui.displaySpacingSpinBox.valueChanged.connect(self._spacing_changed)
        ui.overlayOpacitySlider.valueChanged.connect(self._opacity_changed)
        ui.foldsButton.toggled.connect(self._folds_changed)
        ui.blinkButton.toggled.connect(self._blink_changed)
        self.update()

    @property
    def nodes(self) -> TargetNodes | None:
        """The nodes of the target that is shown, None when there is none any more."""
        return nodes_of_target(self._target) if alive(self._target) else None

    def offer(self, targets: Sequence[Any]) -> None:
        """Show new results where that takes the slice views away from nobody.

        Results come while the user looks at an earlier one, or works in another module.
        """
        if not targets or self._panel.parameters is None:
            self.update()
        elif self.nodes is None:
            self.show(targets[0])
        elif self._target in targets:
            self.show(self._target, jump=False)

    def show(self, target: Any, jump: bool = True) -> None:
        """Show a target in the slice views, with the display that is chosen."""
        self._stop_blinking()
        self._target = target
        nodes = self.nodes
        if nodes is None:
            self.update()
            return
        qa.show_target(nodes, jump)
        self.update()
        self._show_mode()
        self._show_overlay()
        self._show_folds()

    def forget(self) -> None:
        """Show nothing; the scene was closed."""
        self._stop_blinking()
        self._target = None
        self.update()

    def update(self) -> None:
        """Say which target is shown, and enable what it has."""
        ui, nodes = self._ui, self.nodes
        ui.qualityTargetLabel.text = nodes.target.GetName() if nodes else _("none yet")
        warnings = self._panel.results.warnings_of(nodes.target) if nodes else []
        ui.qualityWarningLabel.text = "\n".join(warnings)
        ui.qualityWarningLabel.visible = bool(warnings)
        has_field = nodes is not None and nodes.transform is not None
        for button in (ui.deformationOffButton, *self._modes.values(), ui.displaySpacingSpinBox):
            button.enabled = has_field
        for overlay, button in self._overlays.items():
            button.enabled = nodes is not None and getattr(nodes, overlay) is not None
        ui.foldsButton.enabled = nodes is not None and nodes.folds is not None
        ui.blinkButton.enabled = nodes is not None and nodes.warped is not None
        ui.transformDisplayWidget.setMRMLTransformNode(nodes.transform if nodes else None)

    def close(self) -> None:
        """Stop blinking."""
        self._stop_blinking()

    # -- deformation ---------------------------------------------------------------------------

    def mode(self) -> str | None:
        """Return ``grid``, ``glyph``, ``contour``, or None when the deformation is off."""
        return next((mode for mode, button in self._modes.items() if button.checked), None)

    def _mode_changed(self, checked: bool) -> None:
        # The button that goes out toggles as well.
        if checked:
            self._show_mode()

    def _show_mode(self) -> None:
        nodes, mode = self.nodes, self.mode()
        if nodes is None or nodes.transform is None:
            return
        largest = self._panel.results.largest_displacement(nodes.target)
        qa.show_transform(nodes.transform, nodes.target, mode, largest)
        if mode is None:
            return
        spacings = qa.spacings_for(nodes.target, largest)
        suited = {
            qa.GRID: spacings.grid,
            qa.GLYPH: spacings.glyph,
            qa.CONTOUR: spacings.contour_levels[0],
        }
        with blocked(self._ui.displaySpacingSpinBox):
            self._ui.displaySpacingSpinBox.value = suited[mode]

    def _spacing_changed(self, value: float) -> None:
        nodes, mode = self.nodes, self.mode()
        if nodes is None or nodes.transform is None or mode is None:
            return
        display = nodes.transform.GetDisplayNode()
        if display is None:
            return
        if mode == qa.GRID:
            display.SetGridSpacingMm(value)
            display.SetGridResolutionMm(value / 5)
        elif mode == qa.GLYPH:
            display.SetGlyphSpacingMm(value)
        else:
            levels = " ".join(f"{value * (n + 1):g}" for n in range(_LEVELS))
            display.SetContourLevelsMmFromString(levels)

    # -- overlays ------------------------------------------------------------------------------

    def overlay(self) -> str:
        """Return the overlay that is switched on, ``none`` if there is none."""
        return next((name for name, button in self._overlays.items() if button.checked), qa.NONE)

    def overlay_changed(self, overlay: str, checked: bool) -> None:
        """Switch the other overlays off, since the views have room for one."""
        self._stop_blinking()
        if checked:
            for name, button in self._overlays.items():
                if name != overlay:
                    with blocked(button):
                        button.checked = False
        self._show_overlay()

    def _show_overlay(self) -> None:
        nodes = self.nodes
        if nodes is not None:
            qa.show_overlay(nodes, self.overlay(), float(self._ui.overlayOpacitySlider.value))

    def _opacity_changed(self, _value: float) -> None:
        if self._blink is None:
            self._show_overlay()

    def _folds_changed(self, _checked: bool) -> None:
        self._show_folds()

    def _show_folds(self) -> None:
        nodes = self.nodes
        if nodes is not None:
            qa.show_folds(nodes, bool(self._ui.foldsButton.checked))

    # -- blink ---------------------------------------------------------------------------------

    def _blink_changed(self, checked: bool) -> None:
        nodes = self.nodes
        if checked and nodes is not None:
            self._blink = qa.Blink(nodes)
            self._blink_step()
            self._timer.start()
        else:
            self._stop_blinking()

    def _blink_step(self) -> None:
        if self._blink is None or not self._blink.step():
            self._stop_blinking()

    def _stop_blinking(self) -> None:
        self._timer.stop()
        blink, self._blink = self._blink, None
        if blink is not None and slicer.mrmlScene is not None:
            blink.stop()
        with blocked(self._ui.blinkButton):
            self._ui.blinkButton.checked = False


def _overlay_handler(section: QualitySection, overlay: str) -> Any:
    def handle(checked: bool) -> None:
        section.overlay_changed(overlay, checked)

    return handle
