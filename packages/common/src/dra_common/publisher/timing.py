"""How the publisher spends its time."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Timing:
    """How the publisher spends its time; all in seconds but ``burst``.

    Args:
        settle: how long events are collected before they are answered, so that a wipe of many slices is one repair.
        refused: the first pause after a refusal (422), before the same is tried again unasked; it doubles up to
            ``refused_most``: most likely only other contents help.
        first: the first pause after another error; it doubles up to ``most``.
        burst: so many repairs, and so many watches, are begun at once, further ones each ``every`` seconds. On a
            cluster of 5000 nodes that all have to fight, these are 170 repairs a second.
        changes: the same for what this driver has to say itself: ``burst`` at once, then one each ``changes`` seconds.
        join: how long :meth:`Publisher.stop` waits for a request that is under way.
    """

    settle: float = 0.1
    refused: float = 10.0
    refused_most: float = 300.0
    first: float = 1.0
    most: float = 30.0
    burst: int = 10
    every: float = 30.0
    changes: float = 5.0
    join: float = 5.0
