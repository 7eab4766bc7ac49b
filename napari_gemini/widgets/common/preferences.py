"""What the user set on the plugin's page of napari's preferences."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

PLUGIN = "napari-gemini"


@dataclass(frozen=True)
class Preferences:
    """The plugin's preferences.

    Parameters
    ----------
    device
        ``auto``, ``cpu``, ``cuda`` or ``mps``.
    memory_limit_gb
        Largest estimate that starts without a question; 0 asks the device.
    autosave_seconds
        Longest time between two saves while painting.
    confirm_overwrite
        Ask before labels made by hand are replaced.
    label_opacity
        Of label layers.
    grid_colour, landmark_colour
        Of the deformation grid and of probes.
    jacobian_colormap, similarity_colormap
        Names of napari's colour maps.
    """

    device: str = "auto"
    memory_limit_gb: float = 0.0
    autosave_seconds: float = 3.0
    confirm_overwrite: bool = True
    label_opacity: float = 0.5
    grid_colour: str = "yellow"
    landmark_colour: str = "magenta"
    jacobian_colormap: str = "PiYG"
    similarity_colormap: str = "turbo"


#: In which group of the manifest's ``configurations`` a preference is.
GROUPS = {
    "engine": ("device", "memory_limit_gb"),
    "labelling": ("autosave_seconds", "confirm_overwrite", "label_opacity"),
    "colours": ("grid_colour", "landmark_colour", "jacobian_colormap", "similarity_colormap"),
}


def load_preferences() -> Preferences:
    """Read the preferences; the defaults where napari knows nothing of the plugin."""
    settings = _plugin_settings()
    values: dict[str, Any] = {}
    for group, names in GROUPS.items():
        section = getattr(settings, group, None)
        for name in names:
            value = getattr(section, name, None)
            if value is not None:
                values[name] = value
    known = {item.name for item in fields(Preferences)}
    return Preferences(**{name: value for name, value in values.items() if name in known})


def _plugin_settings() -> Any:
    try:
        from napari.settings import get_plugin_settings

        return get_plugin_settings(PLUGIN)
    except (ImportError, KeyError, ValueError):
        return None
