"""Keys of labelling; those that have a meaning already are left alone."""

from __future__ import annotations

from typing import TYPE_CHECKING
from weakref import ref

from napari_gemini.widgets.common.keys import bind

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from napari_gemini.widgets.study.labelling import Labelling

NEXT, PREVIOUS, FINISH = "PageDown", "PageUp", "Control-Alt-F"

#: Key and what it does, for tooltips and the documentation.
KEYS = {
    NEXT: "Show the next case",
    PREVIOUS: "Show the previous case",
    FINISH: "Finish the shown case, or reopen it",
}


def bind_keys(viewer: ViewerModel, labelling: Labelling) -> list[str]:
    """Bind the keys of labelling in a viewer and return those that are ours now."""
    weak = ref(labelling)

    def step(by: int) -> None:
        found = weak()
        if found is not None:
            found.step(by)

    def finish() -> None:
        found = weak()
        if found is None or found.view is None or found.session.study is None:
            return
        done = found.study.case(found.view.case).status == "done"
        found.talk.attempt(lambda: found.set_status("started" if done else "done"))

    actions = {NEXT: lambda: step(1), PREVIOUS: lambda: step(-1), FINISH: finish}
    return [key for key, action in actions.items() if bind(viewer, key, action, KEYS[key])]


def key_help() -> str:
    """Return the keys as lines of a tooltip."""
    lines = [f"{key}: {what}" for key, what in KEYS.items()]
    return "\n".join([*lines, "1 to 9: Choose the label of that key (0: background)"])
