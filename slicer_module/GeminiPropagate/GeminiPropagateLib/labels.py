"""The labels of an atlas: value, name, colour and terminology of each segment."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Label:
    """One structure of the atlas.

    Attributes
    ----------
    value
        In label maps; greater than 0.
    name
        As the segment is called.
    color
        Red, green and blue, 0 to 1.
    terminology
        Slicer's terminology entry as text, empty where there is none.
    """

    value: int
    name: str
    color: tuple[float, float, float] = (0.5, 0.5, 0.5)
    terminology: str = ""


def generic_label(value: int) -> Label:
    """Return a label for a value that no atlas names."""
    # The golden angle keeps the hues of neighbouring values apart.
    import colorsys

    return Label(value, f"label {value}", colorsys.hsv_to_rgb(value * 0.381966 % 1.0, 0.6, 0.9))
