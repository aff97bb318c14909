"""Where publishing stands, and which troubles were told already."""

from __future__ import annotations

from dataclasses import dataclass

from dra_common.errors import ClusterError, Throttled


@dataclass(frozen=True, slots=True)
class PublisherStatus:
    """Where publishing stands.

    Args:
        synced: the server holds what was published last, as far as is known.
        generation: of the pool; 0 before the first success.
        slices: how many slices the pool has.
        error: why it is not synced, one line; empty = no error.
        dropped: fields that this server does not store as they are sent, as ``devices[].taints``.
    """

    synced: bool = False
    generation: int = 0
    slices: int = 0
    error: str = ""
    dropped: tuple[str, ...] = ()


class Troubles:
    """Tells each kind of trouble once, until all of it is over.

    An outage has many faces: a load balancer refuses, answers 503 and cuts connections by turns. Each is told when it
    shows first, and not again when it takes its turn.
    """

    def __init__(self) -> None:
        self._known: set[tuple[object, ...]] = set()

    def is_new(self, error: Exception) -> bool:
        """Whether nobody was told of this yet; now somebody is."""
        kind = _kind(error)
        new = kind not in self._known
        self._known = self._known | {kind}  # another thread may be reading the old set
        return new

    def knows(self, error: Exception) -> bool:
        """Whether this trouble was told and is not over; for any thread."""
        return _kind(error) in self._known

    def forget(self, family: type[Exception]) -> None:
        """Tell errors of exactly this class again."""
        self._known = {kind for kind in self._known if kind[0] is not family}

    def over(self) -> bool:
        """Something worked: tell everything again from now on. Returns whether there was any trouble."""
        had = bool(self._known)
        self._known = set()
        return had


def _kind(error: Exception) -> tuple[object, ...]:
    """What makes two errors the same trouble: their words may name another time or a made-up name at each try."""
    if isinstance(error, ClusterError) and not isinstance(error, Throttled):
        return type(error), error.status, error.cure
    return (type(error),)
