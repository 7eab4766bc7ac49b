"""What can go wrong, each as one sentence for the user."""

from __future__ import annotations

#: Steps of the panel that mend something.
INSTALL, COMPUTE = "install", "compute"


class PropagateError(Exception):
    """One sentence: what is wrong and what to do. Show it, never a traceback.

    Parameters
    ----------
    sentence
        In the user's language.
    step
        Where it can be mended: ``install``, ``compute`` or empty. Nobody guesses it from the
        words, which are translated.
    """

    def __init__(self, sentence: str, step: str = "") -> None:
        super().__init__(sentence)
        self.step = step
