"""Objectives by name. A new method adds one file and one line here."""

from __future__ import annotations

from napari_gemini.errors import InputError
from napari_gemini.learning.objectives.base import Objective
from napari_gemini.learning.objectives.cover import Cover
from napari_gemini.learning.objectives.gemini_mip import GeminiMip
from napari_gemini.learning.objectives.gemini_semi import GeminiSemi
from napari_gemini.learning.objectives.gvsl import Gvsl
from napari_gemini.learning.objectives.optiml import Optiml
from napari_gemini.learning.objectives.pix2rep import Pix2Rep, Pix2RepV2
from napari_gemini.learning.objectives.supervised import Supervised

OBJECTIVES: dict[str, type[Objective]] = {
    cls.name: cls
    for cls in (GeminiSemi, Supervised, GeminiMip, Gvsl, Cover, Pix2Rep, Pix2RepV2, Optiml)
}


def objective_class(name: str) -> type[Objective]:
    """Return the objective of a name.

    Raises
    ------
    InputError
        If there is none of that name.
    """
    try:
        return OBJECTIVES[name]
    except KeyError:
        known = ", ".join(sorted(OBJECTIVES))
        raise InputError(f"There is no objective '{name}'; choose one of {known}.") from None
