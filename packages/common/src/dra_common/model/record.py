"""What is kept on disk about one claim."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from pydantic import JsonValue

from dra_common.model.claim import ClaimRef
from dra_common.model.plan import Plan
from dra_common.model.prepared import PreparedDevice

SCHEMA = 1
"""Major version of the record format; a record with a greater one is refused, never guessed at.

What an older release can do without is added as an optional field, which it keeps. Everything else (a new phase,
another meaning, a field that must be understood) needs the next major version.
"""


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
        pod_claim: what its pod calls it, if it was made from a template.
        adopted: whether another driver prepared it: its answer has that driver's CDI ids.
        unknown: what the record's file says beyond what this release knows, laid over its content as the file has it
            (``{"record": {"ref": {"added": 1}}}``; entries of a list by their number). Written again with the record.
    """

    ref: ClaimRef
    phase: Phase
    boot_id: str
    plan: Plan
    answer: tuple[PreparedDevice, ...] = ()
    error: str = ""
    adopted: bool = False
    pod_claim: str = ""
    unknown: Mapping[str, JsonValue] = field(default_factory=dict)

    def planned_again(self, plan: Plan, boot_id: str) -> ClaimRecord:
        """Return the record of the same claim, with the same answer, as it is prepared in another boot."""
        body = self.unknown.get("record")
        # What a newer release noted about the old plan is not true of this one.
        kept = {key: value for key, value in body.items() if key != "plan"} if isinstance(body, dict) else {}
        unknown = {**self.unknown, "record": kept}
        return replace(self, phase=Phase.PREPARING, boot_id=boot_id, plan=plan, error="", unknown=unknown)
