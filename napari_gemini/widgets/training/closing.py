"""The window closes and a training runs: shall it go on? Asked once for each training."""

from __future__ import annotations

from collections.abc import Callable

from qtpy.QtWidgets import QMessageBox, QWidget

from napari_gemini.engine.run_folder import RunFolder

KEEP, STOP, CANCEL = "Keep training", "Stop training", "Cancel"


class CloseQuestion:
    """Keeps a window open until the question is answered, without holding anything up.

    Parameters
    ----------
    running
        Returns the runs that go on now.
    window
        Returns the window that is closed again after an answer.
    """

    def __init__(
        self, running: Callable[[], list[RunFolder]], window: Callable[[], QWidget | None]
    ) -> None:
        self._running = running
        self._window = window
        self._answered: set[str] = set()
        self.box: QMessageBox | None = None

    def may_close(self) -> bool:
        """Return whether the window may close; where not, the question is on screen."""
        open_ = [run for run in self._running() if str(run.path) not in self._answered]
        if not open_:
            return True
        if self.box is None:
            self._ask(open_)
        return False

    def _ask(self, runs: list[RunFolder]) -> None:
        names = " and ".join(run.name for run in runs)
        box = QMessageBox(self._window())
        box.setIcon(QMessageBox.Icon.Question)
        box.setWindowTitle("A training is running")
        box.setText(f"The training {names} is running.")
        box.setInformativeText(
            "It can go on without the window; the Train dock picks it up when it is opened again. "
            "Stopped, it keeps a usable model and can be resumed."
        )
        buttons = {
            words: box.addButton(words, role)
            for words, role in (
                (KEEP, QMessageBox.ButtonRole.AcceptRole),
                (STOP, QMessageBox.ButtonRole.DestructiveRole),
                (CANCEL, QMessageBox.ButtonRole.RejectRole),
            )
        }
        box.setDefaultButton(buttons[KEEP])
        box.setEscapeButton(buttons[CANCEL])
        box.buttonClicked.connect(lambda button: self._answer(button.text(), runs))
        self.box = box
        box.open()

    def choose(self, words: str) -> None:
        """Press the button with these words."""
        assert self.box is not None
        next(b for b in self.box.buttons() if b.text().replace("&", "") == words).click()

    def _answer(self, words: str, runs: list[RunFolder]) -> None:
        box, self.box = self.box, None
        if box is not None:
            box.deleteLater()
        words = words.replace("&", "")
        if words == CANCEL:
            return
        self._answered |= {str(run.path) for run in runs}
        if words == STOP:
            for run in runs:
                run.request_stop()
        window = self._window()
        if window is not None:
            window.close()

    def drop(self) -> None:
        """Take the question back."""
        box, self.box = self.box, None
        if box is not None:
            box.deleteLater()
