"""Timing two things against each other on a machine that is never quiet.

Rounds of both alternate, so that a slow moment hits both; the median of the rounds' ratios is what counts. Absolute times are
printed for orientation only.
"""

from __future__ import annotations

import gc
from dataclasses import dataclass
from statistics import median
from time import perf_counter_ns
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

ROUNDS = 41
NANOSECONDS_PER_ROUND = 20_000_000


@dataclass(frozen=True)
class Comparison:
    """What `with_us` costs beside `without`: both are called again and again."""

    name: str
    without: Callable[[], object]
    with_us: Callable[[], object]
    aim: float | None = None


@dataclass(frozen=True)
class Result:
    """ratio: the median; low and high: the quartiles. Times are microseconds per call."""

    name: str
    ratio: float
    low: float
    high: float
    without: float
    with_us: float
    aim: float | None

    def __str__(self) -> str:
        aim = "" if self.aim is None else f"  aim <= {self.aim:g}{'' if self.ratio <= self.aim else '  MISSED'}"
        times = f"{self.without:8.2f} -> {self.with_us:8.2f} us"
        return f"{self.name:58} {self.ratio:5.2f}x  ({self.low:.2f} to {self.high:.2f})  {times}{aim}"


def compare(comparison: Comparison, rounds: int = ROUNDS) -> Result:
    """Run both in turn, garbage collection off while the clock runs."""
    calls = _calls_per_round(comparison.without)
    _time(comparison.with_us, calls)
    pairs = [(_time(comparison.without, calls), _time(comparison.with_us, calls)) for _ in range(rounds)]
    ratios = sorted(after / before for before, after in pairs)
    return Result(
        comparison.name,
        median(ratios),
        ratios[len(ratios) // 4],
        ratios[-len(ratios) // 4],
        median(before for before, _ in pairs),
        median(after for _, after in pairs),
        comparison.aim,
    )


def _calls_per_round(action: Callable[[], object]) -> int:
    return max(1, int(NANOSECONDS_PER_ROUND / 1000 / _time(action, 20)))


def _time(action: Callable[[], object], calls: int) -> float:
    """Microseconds per call."""
    gc.collect()
    gc.disable()
    try:
        start = perf_counter_ns()
        for _ in range(calls):
            action()
        return (perf_counter_ns() - start) / calls / 1000
    finally:
        gc.enable()
