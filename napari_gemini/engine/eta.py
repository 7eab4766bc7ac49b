"""How long work will still take, from how long it took."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

#: Seconds after which an old speed counts for 1/e of a new one.
MEMORY = 30.0


class EtaEstimator:
    """Smooth the speed of work and extrapolate it.

    The speed is an average over time whose weights decay exponentially, so a burst of quick steps
    does not swing the estimate. The first interval is left out as soon as there is another: it
    holds imports, caches and compilers. When `done` falls or `total` changes, a new phase has begun
    and the old speed is forgotten.

    Parameters
    ----------
    clock
        Seconds from any origin; tests give their own.
    memory
        Time constant of the average, in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic, memory: float = MEMORY) -> None:
        self._clock = clock
        self._memory = memory
        self._start = clock()
        self._begin(0, 0)

    def _begin(self, done: int, total: int) -> None:
        self._last_time = self._clock()
        self._done = done
        self._total = total
        self._intervals = 0
        self._seconds_per_unit = 0.0
        self._weight = 0.0

    @property
    def elapsed(self) -> float:
        """Seconds since the estimator was made."""
        return self._clock() - self._start

    def update(self, done: int, total: int) -> None:
        """Take in that `done` of `total` units are finished now."""
        if done < self._done or total != self._total:
            self._begin(done, total)
            return
        units = done - self._done
        now = self._clock()
        if units == 0:
            return
        seconds = now - self._last_time
        self._last_time, self._done = now, done
        self._intervals += 1
        if self._intervals == 2:
            self._seconds_per_unit = self._weight = 0.0
        fresh = -math.expm1(-max(seconds, 1e-6) / self._memory)
        self._seconds_per_unit += fresh * (seconds / units - self._seconds_per_unit)
        self._weight += fresh * (1 - self._weight)

    @property
    def remaining(self) -> float | None:
        """Estimated seconds left, None while nothing is known."""
        left = self._total - self._done
        if left <= 0:
            return 0.0 if self._total > 0 else None
        if self._weight <= 0:
            return None
        # Dividing by the weight removes the pull towards the zero that the average began at.
        seconds = left * self._seconds_per_unit / self._weight
        return max(0.0, seconds - (self._clock() - self._last_time))


def format_seconds(seconds: float | None) -> str:
    """Return a duration as a person says it: ``45 s``, ``3 min 20 s``, ``2 h 05 min``."""
    if seconds is None or not math.isfinite(seconds):
        return "unknown"
    whole = round(max(0.0, seconds))
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min"
