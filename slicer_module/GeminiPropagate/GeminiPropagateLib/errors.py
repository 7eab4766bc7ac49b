"""What can go wrong, each as one sentence for the user."""

from __future__ import annotations


class PropagateError(Exception):
    """One sentence: what is wrong and what to do. Show it, never a traceback."""
