"""What goes into the spool and what comes out of it: frozen values, no I/O."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Mapping
from typing import Final

__all__ = ["EVICTION_ORDER", "LANES", "Batch", "DeadLetter", "Lane", "RecordId", "Signal", "SpoolStats"]


class Signal(str, enum.Enum):
    """Which OTLP service a record is for."""

    LOGS = "logs"
    TRACES = "traces"

    __hash__ = str.__hash__  # as of the str that it equals; Enum's own is written in Python


@dataclasses.dataclass(frozen=True)
class Lane:
    """One queue of the spool: records of one signal that are equally dear."""

    signal: Signal
    precious: bool
    table: str


LANES: Final = (
    Lane(Signal.LOGS, True, "precious_logs"),
    Lane(Signal.TRACES, True, "precious_traces"),
    Lane(Signal.LOGS, False, "logs"),
    Lane(Signal.TRACES, False, "traces"),
)
"""Every lane, in the order of delivery. The index is stored with dead letters: append to it, never reorder."""

EVICTION_ORDER: Final = (3, 2, 1, 0)
"""Lanes in the order in which they give way: spans, other logs, then what is precious."""

RecordId = tuple[int, int, int]
"""Names a record within one process; opaque, and never used for another record."""


@dataclasses.dataclass(frozen=True)
class Batch:
    """Records of one signal, oldest first; ``ids`` and ``payloads`` go pairwise. Empty, and false, when none are left."""

    signal: Signal
    ids: tuple[RecordId, ...] = ()
    payloads: tuple[bytes, ...] = dataclasses.field(default=(), repr=False)
    size: int = 0
    """Bytes of all payloads together."""

    def __len__(self) -> int:
        return len(self.ids)


@dataclasses.dataclass(frozen=True)
class DeadLetter:
    """A record that can never be delivered as it is, kept for a person to look at."""

    id: str
    """Stable across processes; ids of one spool sort in the order of `Spool.dead_letters`."""
    signal: Signal
    precious: bool
    reason: str
    detail: str
    payload: bytes = dataclasses.field(repr=False)
    put_at: float
    """Seconds since the Unix epoch, as is ``buried_at``."""
    buried_at: float


@dataclasses.dataclass(frozen=True)
class SpoolStats:
    """What a spool holds; dead letters are in ``dead_letters`` and ``dead_bytes`` only."""

    records: Mapping[Signal, int]
    bytes: int
    oldest_age_seconds: float | None
    dead_letters: int
    dead_bytes: int
    files: int
