"""A ClaimService without hardware, to try the kubelet's side of a driver alone."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable

from dra_common.deadline import Deadline
from dra_common.model import ClaimRef, PreparedDevice

BeforeClaim = Callable[[ClaimRef, Deadline], None]


class Gate:
    """A ``before`` that holds every claim until it is opened, and tells how many wait."""

    def __init__(self) -> None:
        self._opened = threading.Event()
        self._arrived = threading.Semaphore(0)

    def __call__(self, ref: ClaimRef, _deadline: Deadline) -> None:
        """Hold the claim, for a minute at most."""
        self._arrived.release()
        if not self._opened.wait(60):
            raise TimeoutError(f"nobody opened the gate for {ref}")

    def wait_for(self, claims: int, timeout: float = 60.0) -> None:
        """Wait until so many more claims have arrived. Raises TimeoutError."""
        for number in range(claims):
            if not self._arrived.acquire(timeout=timeout):
                raise TimeoutError(f"{number} of {claims} claims arrived within {timeout:g} s")

    def open(self) -> None:
        """Let all claims pass from now on."""
        self._opened.set()


class MemoryClaims:
    """Gives every claim a device of its own, the same for as long as the claim is prepared.

    Args:
        before: called before each claim is touched; may block, or raise what the claim fails with.
    """

    def __init__(self, before: BeforeClaim | None = None) -> None:
        self.before: BeforeClaim = before or (lambda _ref, _deadline: None)
        self.calls: Counter[tuple[str, str]] = Counter()
        self._lock = threading.Lock()
        self._prepared: dict[str, tuple[PreparedDevice, ...]] = {}
        self._made = 0

    @property
    def prepared(self) -> frozenset[str]:
        """UIDs of the claims that are prepared now."""
        with self._lock:
            return frozenset(self._prepared)

    def prepare(self, ref: ClaimRef, deadline: Deadline) -> tuple[PreparedDevice, ...]:
        """Prepare one claim."""
        self._enter("prepare", ref, deadline)
        with self._lock:
            if ref.uid not in self._prepared:
                device = PreparedDevice(
                    ("gpu",), "node-1", f"dev-{self._made}", (f"intel.com/gpu={ref.uid}",)
                )
                self._prepared[ref.uid] = (device,)
                self._made += 1
            return self._prepared[ref.uid]

    def unprepare(self, ref: ClaimRef, deadline: Deadline) -> None:
        """Undo one claim; unknown ones are fine."""
        self._enter("unprepare", ref, deadline)
        with self._lock:
            self._prepared.pop(ref.uid, None)

    def _enter(self, call: str, ref: ClaimRef, deadline: Deadline) -> None:
        with self._lock:
            self.calls[call, ref.uid] += 1
        self.before(ref, deadline)
