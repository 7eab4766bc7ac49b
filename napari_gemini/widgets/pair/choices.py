"""Keeps the lists of scans, labels, models and layers in step with study and viewers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from napari_gemini.widgets.common.session import Session
from napari_gemini.widgets.pair.apply_layers import can_be_carried
from napari_gemini.widgets.pair.apply_panel import ApplyPanel
from napari_gemini.widgets.pair.inputs import Source, label_sources, scan_sources
from napari_gemini.widgets.pair.match_panel import MatchPanel
from napari_gemini.widgets.pair.partner import PartnerView
from napari_gemini.widgets.pair.runner import known_results


class Choices:
    """Fills the forms with what there is to choose.

    Parameters
    ----------
    session
        Of the main viewer.
    match, apply
        The forms.
    partner
        Gives the canvas of the moving scan, None while there is none.
    """

    def __init__(
        self,
        session: Session,
        match: MatchPanel,
        apply: ApplyPanel,
        partner: Callable[[], PartnerView | None],
    ) -> None:
        self._session, self._match, self._apply = session, match, apply
        self._partner = partner

    def update(self) -> None:
        """Offer what there is now; what was chosen stays chosen."""
        study = self._session.study
        scans = scan_sources(study, self._session.viewer)
        moving, fixed = self._preferred(scans)
        self._match.moving.set_sources(scans, prefer=moving)
        self._match.fixed.set_sources(scans, prefer=fixed)
        self._match.set_results(known_results(study))
        self.follow_scans()
        self._update_layers()

    def _preferred(self, scans: list[Source]) -> tuple[int, int]:
        """Return which scans are moving and fixed until the user chooses.

        What is on the canvas is fixed; a labelled case comes to it, so that labels are carried.
        """
        study, shown = self._session.study, self._session.case
        if study is None or shown is None:
            return 0, 1
        cases = [scan.case for scan in scans]
        if shown not in cases:
            return 0, 1
        others = [k for k, case in enumerate(cases) if case not in (None, shown)]
        labelled = [k for k in others if study.has_labels(str(cases[k]))]
        return next(iter(labelled or others), 0), cases.index(shown)

    def follow_scans(self) -> None:
        """Offer models and labels that suit the chosen scans."""
        self._update_models()
        self._update_labels()

    def _update_models(self) -> None:
        fixed, study = self._match.fixed.source, self._session.study
        dimension = None if fixed is None else fixed.dimension(study)
        self._match.set_models(self._session.models(dimension))

    def _update_labels(self) -> None:
        panel, study, viewer = self._match, self._session.study, self._session.viewer
        for box, scan in (
            (panel.moving_labels, panel.moving.source),
            (panel.fixed_labels, panel.fixed.source),
            (panel.ignore, None),
        ):
            before = box.source
            if before is not None and before.case not in (None, scan and scan.case):
                box.choose_none()
            sources = label_sources(study, viewer, scan)
            # The study's own labels of a case are what is meant unless something else is chosen.
            own = bool(sources) and sources[0].case is not None
            box.set_sources(sources, prefer=0 if own else -1)

    def _update_layers(self) -> None:
        found: list[tuple[str, Any]] = []
        partner = self._partner()
        # What lies on the moving scan comes first: that is what is usually carried.
        if partner is not None and partner.alive:
            found += [(f"{layer.name} (moving)", layer) for layer in partner.model.layers]
        found += [(layer.name, layer) for layer in self._session.viewer.layers]
        self._apply.set_layers([(name, layer) for name, layer in found if can_be_carried(layer)])
