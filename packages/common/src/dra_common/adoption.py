"""At the first start after another driver of the same name: its claims become ours, hardware stays as found.

What is looked at is decided here without touching anything (:func:`look`); then each claim is taken over under its
lock, in this order, so that a kill anywhere leaves what the next start takes up:

.. code-block:: text

    for each claim: holds -> CDI -> record "prepared";    at the end: the file gets another name

A claim without a record is not adopted yet: what was done for it so far is removed by recovery, and done again.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Generic

from dra_common.checkpoint import Checkpoint, CheckpointClaim, CheckpointDevice, decode_checkpoint
from dra_common.deadline import Deadline
from dra_common.driver import Driver, H
from dra_common.errors import CheckpointError, ClaimError, DraError, HostError, SpecInvalid
from dra_common.lifecycle import NOT_THIS_BOOT, Lifecycle, State
from dra_common.log import bind
from dra_common.model import Allocated, ClaimRecord, ClaimRef, Phase, Plan, PlannedDevice
from dra_common.ports import CheckpointFile, Found, Host, Locks
from dra_common.telemetry import ADOPTED_CLAIMS, SILENT, Reason, Telemetry

_log = logging.getLogger(__name__)

_LOCK_WAIT = 45.0
"""Seconds: as long as a call of the kubelet, to another instance of ours, may work on a claim."""


class Verdict(StrEnum):
    """What becomes of one claim of the file."""

    ADOPT = "adopt"
    KNOWN = "known"
    REFUSE = "refuse"


@dataclass(frozen=True, slots=True)
class Finding:
    """One claim of the file and what becomes of it; ``why`` unless it is simply adopted."""

    claim: CheckpointClaim
    verdict: Verdict
    why: str = ""

    @property
    def devices(self) -> tuple[str, ...]:
        """Names of its devices."""
        return tuple(device.answer.device for device in self.claim.devices)

    @property
    def ids(self) -> tuple[str, ...]:
        """The CDI ids that the kubelet was given for it."""
        return tuple(name for device in self.claim.devices for name in device.answer.cdi_ids)


@dataclass(frozen=True, slots=True)
class Around:
    """What a decision about claims depends on beside the file.

    Args:
        known: UIDs that have a record of ours.
        holders: (device, share id) -> the UID that holds it.
        present: names of devices that are on the machine.
        pool: this node's pool; empty = not checked.
    """

    known: Collection[str]
    holders: Mapping[tuple[str, str | None], str]
    present: Collection[str]
    pool: str = ""


def kinds(driver: Driver[H]) -> tuple[str, ...]:
    """Return the CDI kinds of a driver."""
    return tuple(f"{driver.cdi_vendor}/{cdi_class}" for cdi_class in driver.cdi_classes)


def read(found: Found, driver: Driver[H]) -> Checkpoint:
    """Decode a checkpoint of the driver that ``driver`` replaces. Raises CheckpointError."""
    checkpoint = decode_checkpoint(found.data, driver.name, kinds(driver))
    claims = (replace(claim, devices=_with_admin(claim, driver)) for claim in checkpoint.claims)
    return replace(checkpoint, claims=tuple(claims))


def _with_admin(claim: CheckpointClaim, driver: Driver[H]) -> tuple[CheckpointDevice, ...]:
    """The devices with what the answer says of adminAccess: the map cannot say it."""
    return tuple(
        replace(device, admin=device.admin or driver.is_adopted_admin(device.answer))
        for device in claim.devices
    )


def look(checkpoint: Checkpoint, around: Around) -> Iterator[Finding]:
    """Decide about every claim, in the file's order: of two that have one device, the first gets it."""
    holders = dict(around.holders)
    for claim in checkpoint.claims:
        if claim.uid in around.known:
            yield Finding(claim, Verdict.KNOWN, "it has a record of this driver")
        elif why := claim.problem or _obstacle(claim, around, holders):
            yield Finding(claim, Verdict.REFUSE, why)
        else:
            holders.update(dict.fromkeys(_held(claim), claim.uid))
            yield Finding(claim, Verdict.ADOPT)


def _held(claim: CheckpointClaim) -> list[tuple[str, str | None]]:
    """What the claim has for itself; what an administrator looks at is not."""
    return [(each.answer.device, each.answer.share_id) for each in claim.devices if not each.admin]


def _obstacle(claim: CheckpointClaim, around: Around, holders: Mapping[tuple[str, str | None], str]) -> str:
    for each in claim.devices:
        answer = each.answer
        if around.pool and answer.pool != around.pool:
            return f"device {answer.device} is in pool {answer.pool}, this node has pool {around.pool} only"
        if answer.device not in around.present:
            return f"device {answer.device} is not on this node"
    held = _held(claim)
    for key in held:
        if holders.get(key, claim.uid) != claim.uid:
            return f"device {key[0]} is held by claim {holders[key]}"
        if held.count(key) > 1:
            return f"device {key[0]} is in it twice"
    return ""


def written_in_this_boot(found: Found, host: Host) -> bool:
    """Whether the file was written since the machine started (``btime`` of /proc/stat, proc(5)).

    The file does not say to which boot it belongs. False in doubt: such a claim is planned again when the kubelet asks
    for it, as after a reboot, with the answer it had.
    """
    try:
        lines = host.procfs.read("stat").splitlines()
        started = next(int(line.split()[1]) for line in lines if line.startswith("btime "))
    except (HostError, StopIteration, ValueError, IndexError):
        return False
    return found.modified > started


def to_record(claim: CheckpointClaim, boot_id: str) -> ClaimRecord:
    """Return the record of an adopted claim: nothing to undo, and the answer that the kubelet has already."""
    devices = tuple(
        PlannedDevice(
            Allocated(
                request=next(iter(each.answer.requests), ""),
                pool=each.answer.pool,
                device=each.answer.device,
                share_id=each.answer.share_id,
                admin_access=each.admin,
            )
        )
        for each in claim.devices
    )
    answer = tuple(each.answer for each in claim.devices)
    return ClaimRecord(
        ClaimRef("", "", claim.uid), Phase.PREPARED, boot_id, Plan(devices), answer, adopted=True
    )


@dataclass(slots=True)
class Adopted:
    """What adoption did, UIDs by result; ``kept_as`` is the file's new name, empty if there was none."""

    adopted: list[str] = field(default_factory=list)
    known: list[str] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)
    kept_as: str = ""


@dataclass(frozen=True, slots=True)
class Adoption(Generic[H]):
    """Takes over what is in the file, once; safe to repeat, also in two instances at a time.

    Args:
        pool: the name of this node's pool.
        telemetry: told of every claim.
    """

    driver: Driver[H]
    host: Host
    lifecycle: Lifecycle[H]
    state: State
    locks: Locks
    file: CheckpointFile
    pool: str
    telemetry: Telemetry = SILENT

    def run(self) -> Adopted:
        """Adopt. A claim or a file that is bad is reported, and the others go on.

        Raises StateError, HostError, LockTimeout for what keeps all of them from being adopted: try again.
        """
        done = Adopted()
        if self.file.read() is None:
            return done
        with self.locks.parents(["adoption"], Deadline.after(_LOCK_WAIT)):
            found = self.file.read()
            if found is None:  # another instance of ours was faster
                return done
            try:
                checkpoint = read(found, self.driver)
            except CheckpointError as error:
                self._set_aside(error, done)
                return done
            self._take_over(checkpoint, written_in_this_boot(found, self.host), done)
            self.state.shared.inherit()
            done.kept_as = self.file.set_aside("adopted")
            self.state.shared.finish()
        self._tell(done)
        return done

    def _set_aside(self, error: CheckpointError, done: Adopted) -> None:
        done.kept_as = self.file.set_aside("corrupt")
        msg = f"no claim adopted, {self.file.name} set aside as {done.kept_as}: {error.message}"
        _log.error("%s", msg)
        self.telemetry.event(Reason.ADOPTION_FAILED, msg)

    def _take_over(self, checkpoint: Checkpoint, this_boot: bool, done: Adopted) -> None:  # noqa: FBT001
        wanted = {each.answer.device for claim in checkpoint.claims for each in claim.devices}
        hardware = self.driver.discover(self.host, only=wanted).hardware if wanted else {}
        around = Around(self.state.records.uids(), self.state.holds.holders(), hardware.keys(), self.pool)
        for finding in look(checkpoint, around):
            with bind(uid=ascii(finding.claim.uid)[1:-1]):
                if finding.verdict is Verdict.KNOWN:
                    done.known.append(finding.claim.uid)
                elif finding.verdict is Verdict.REFUSE:
                    self._refuse(finding, finding.why, done)
                else:
                    self._adopt(
                        finding, hardware, self.lifecycle.boot_id if this_boot else NOT_THIS_BOOT, done
                    )

    def _adopt(self, finding: Finding, hardware: Mapping[str, H], boot_id: str, done: Adopted) -> None:
        uid = finding.claim.uid
        mine = {name: hardware[name] for name in finding.devices}
        try:
            with self.locks.claim(uid, Deadline.after(_LOCK_WAIT)):
                if self.lifecycle.is_known(uid):
                    done.known.append(uid)
                    return
                trouble = self.lifecycle.adopt(to_record(finding.claim, boot_id), mine)
        except (ClaimError, SpecInvalid) as error:
            self._refuse(finding, str(error), done)
        except DraError:
            raise
        except Exception as error:  # noqa: BLE001 - a defect of a driver: the claims of others must be adopted
            _log.exception("an error that nobody foresaw")
            self._refuse(finding, f"internal error ({type(error).__name__})", done)
        else:
            done.adopted.append(uid)
            self.telemetry.count(ADOPTED_CLAIMS, result="adopted")
            if trouble:
                _log.warning("adopted, but its containers cannot be started again now: %s", trouble)

    def _refuse(self, finding: Finding, why: str, done: Adopted) -> None:
        uid = ascii(finding.claim.uid)[1:-1]
        done.refused[uid] = why
        _log.error("claim not adopted: %s", why)
        self.telemetry.count(ADOPTED_CLAIMS, result="refused")
        self.telemetry.event(Reason.ADOPTION_FAILED, f"claim {uid} not adopted: {why}")

    def _tell(self, done: Adopted) -> None:
        msg = (
            f"{self.file.name}: {len(done.adopted)} claims adopted, {len(done.known)} known already, "
            f"{len(done.refused)} not adopted; kept as {done.kept_as}"
        )
        _log.info("%s", msg)
        if done.adopted:
            self.telemetry.event(Reason.CLAIM_ADOPTED, msg)
