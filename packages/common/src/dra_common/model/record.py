"""What is kept on disk about one claim."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from dra_common.model.claim import ClaimRef
from dra_common.model.plan import Plan
from dra_common.model.prepared import PreparedDevice

SCHEMA = 1
"""Major version of the record format; a record with a greater one is refused, never guessed at."""


class Phase(StrEnum):
    """Where a claim is between "never seen" and "nothing left"; both ends have no record.

    .. code-block:: text

        (none) -> preparing -> prepared -> unpreparing -> (none)
                      |            `-> preparing (other boot: plan, apply and edit again)
                      `-> (none), or prepared as in the other boot | failed (the revert failed; every later call of
                          the claim and recovery try again)
    """

    PREPARING = "preparing"
    PREPARED = "prepared"
    UNPREPARING = "unpreparing"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class ClaimRecord:
    """The state of one claim on this node.

    Args:
        boot_id: the boot in which ``plan`` was applied (``/proc/sys/kernel/random/boot_id``).
        answer: what the kubelet was or will be told. Kept over a reboot: ids never change for a claim.
        error: why the claim is *failed*, else empty.
    """

    ref: ClaimRef
    phase: Phase
    boot_id: str
    plan: Plan
    answer: tuple[PreparedDevice, ...] = ()
    error: str = ""
