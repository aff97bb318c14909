"""What the core needs from the world. Adapters implement these protocols; tests replace them with behavioural fakes.

Errors: every method raises only errors of :mod:`dra_common.errors`, named in its docstring.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from dra_common.deadline import Deadline
from dra_common.errors import StateError
from dra_common.model import (
    Attribute,
    ClaimRecord,
    ClaimRef,
    ContainerEdits,
    DeviceHealth,
    Finding,
    ParentMode,
    PreparedDevice,
)

# --------------------------------------------------------------------------- the machine


class Hand(Protocol):
    """Who makes the system calls of a read or write that may block in the kernel for ever: another process.

    Every method raises OSError with the kernel's errno, or HardwareBusy when it is not waited for any longer.
    """

    def read(self, path: str, longest: int) -> bytes:
        """Return a file, or its first ``longest`` bytes."""

    def write(self, path: str, data: bytes) -> int:
        """Put ``data`` into an existing file in one write(2); returns how many bytes the kernel took."""

    def ask(self, socket: str, line: bytes) -> bytes:
        """Send a line to a unix socket and return the line of the answer: a write to a simulated kernel."""


class Tree(Protocol):
    """One pseudo file system (sysfs, devfs, procfs, debugfs) below an injectable root.

    Paths are relative to the root and never start with ``/``: ``bus/pci/devices/0000:03:00.0/vendor``.
    Links may not lead out of the root; a loop or an escape is a :class:`~dra_common.errors.HostError`.
    """

    def read(self, path: str, by: Hand | None = None) -> str:
        """Return the text of a file without its last newline. Raises HostNotFound, HostError (unreadable, not text).

        ``by`` is who reads, if it may block.
        """

    def listdir(self, path: str) -> tuple[str, ...]:
        """Return the sorted names in a folder. Raises HostNotFound, HostError."""

    def readlink(self, path: str) -> str:
        """Return the text of a symbolic link, unresolved. Raises HostNotFound, HostError (not a link)."""

    def realpath(self, path: str) -> str:
        """Resolve links; returns a path relative to the root. Raises HostNotFound, HostError (loop, escape)."""

    def exists(self, path: str) -> bool:
        """Whether the path, links followed, is there."""

    def write(self, path: str, value: str, by: Hand | None = None) -> None:
        """Put text into an existing file in one write(2). Raises HostWriteError with the errno, HostNotFound.

        ``by`` is who writes, if it may block.
        """


class DeviceQuery(Protocol):
    """A question put to a device node by ioctl, whose answer is plain bytes (no pointers)."""

    @property
    def name(self) -> str:
        """How a simulated kernel knows the question, for example ``xe.mem_regions``."""

    def run(self, fd: int) -> bytes:
        """Ask the open node ``fd``. Raises OSError with the kernel's errno."""


class Host(Protocol):
    """The kernel interfaces of this machine: real files, or a simulated kernel behind a control socket."""

    @property
    def sysfs(self) -> Tree:
        """``/sys``; also carries ``fs/cgroup``."""

    @property
    def devfs(self) -> Tree:
        """``/dev``."""

    @property
    def procfs(self) -> Tree:
        """``/proc``."""

    @property
    def debugfs(self) -> Tree:
        """``/sys/kernel/debug``; nothing is in it where it is not mounted, or not for this process to see."""

    @property
    def dev_root(self) -> str:
        """Where device nodes are *on the host*: what CDI files say. ``/dev`` unless set otherwise."""

    def query(self, node: str, query: DeviceQuery) -> bytes:
        """Open ``node`` (relative to devfs) and ask. Raises HostNotFound, HostError with errno (EACCES, EINVAL …)."""

    def boot_id(self) -> str:
        """Return the kernel's random id of this boot (``/proc/sys/kernel/random/boot_id``). Raises HostError."""


@dataclass(frozen=True, slots=True)
class Uevent:
    """A kernel uevent. Only a doorbell: nothing is decided from its properties."""

    action: str
    devpath: str
    subsystem: str = ""
    properties: Mapping[str, str] | None = None


class UeventSource(Protocol):
    """Where kernel events come from."""

    def events(self) -> Iterator[Uevent]:
        """Yield events until :meth:`close`. Raises HostError when the source is lost; call again to reconnect."""

    def close(self) -> None:
        """End :meth:`events` from another thread."""


class Doorbell(Protocol):
    """Something changed: look again."""

    def ring(self, reason: str) -> None:
        """Never blocks; many rings become one reconcile."""

    def freed(self, devices: Collection[str]) -> None:
        """Say that a claim let go of these devices, which changes what is published of few. Never blocks."""


# --------------------------------------------------------------------------- health


@dataclass(frozen=True, slots=True)
class Report:
    """What a source of health knows now.

    Args:
        findings: published name or PCI address of a device -> what is said of it; a device that was looked at and has
            nothing wrong has a finding that says so.
        away: why the source cannot tell now, empty while it can. What it said last then counts only if it was bad.
        memory: published name or PCI address -> bytes of local memory, where the source knows.
        attributes: published name or PCI address -> what the source knows besides, as it is published.
    """

    findings: Mapping[str, tuple[Finding, ...]] = field(default_factory=dict)
    away: str = ""
    memory: Mapping[str, int] = field(default_factory=dict)
    attributes: Mapping[str, Mapping[str, Attribute]] = field(default_factory=dict)


class HealthSource(Protocol):
    """Somebody who watches devices. Never raises, never ends the process: who cannot tell says so in the report."""

    @property
    def name(self) -> str:
        """Its name in logs, messages and metrics: one word."""

    def start(self, changed: Callable[[], None]) -> None:
        """Begin to watch; ``changed`` is to be called, from any thread, whenever the report is another one. Once."""

    def stop(self) -> None:
        """End at once; fine if it never began, or again."""

    def report(self) -> Report | None:
        """Return what is known now, at once; None before it can be known."""


class HealthFeed(Protocol):
    """The health of all devices, for those who wait for changes. Called from many threads at once."""

    def wait(self, seen: int, seconds: float) -> tuple[int, Mapping[str, DeviceHealth]]:
        """Return what is true now, by device, and a number, once that is not ``seen``, or when time is up.

        It changes with every news (then the mapping is another one) and every :meth:`wake`.
        """

    def wake(self) -> None:
        """Let everybody look, also who is just about to wait."""


# --------------------------------------------------------------------------- the API server


@dataclass(frozen=True, slots=True)
class WatchEvent:
    """One line of a watch; ``object`` is the raw JSON object."""

    type: Literal["ADDED", "MODIFIED", "DELETED", "BOOKMARK"]
    object: Mapping[str, Any]


class EventStream(Protocol):
    """One watch: a context manager that gives the events."""

    def __enter__(self) -> Iterator[WatchEvent]:
        """Send the request. Raises ClusterError, and so does the iteration."""

    def __exit__(self, *_: object) -> None:
        """End the watch."""

    def close(self) -> None:
        """End the iteration at once, from another thread than the one that iterates."""


class ApiServer(Protocol):
    """Raw paths and dicts; typed models would drop fields they do not know.

    Every call has a timeout and raises only :class:`~dra_common.errors.ClusterError` and its children.
    Paths are those of the REST API, for example ``/apis/resource.k8s.io/v1/resourceslices/<name>``.
    """

    def get(self, path: str, *, timeout: float = 10.0) -> dict[str, Any]:
        """GET one object."""

    def list(
        self, path: str, *, query: Mapping[str, str] | None = None, timeout: float = 30.0
    ) -> dict[str, Any]:
        """GET a whole list, page by page; ``metadata.resourceVersion`` of the result is where a watch may start."""

    def create(self, path: str, body: Mapping[str, Any], *, dry_run: bool = False) -> dict[str, Any]:
        """POST; returns the object as stored, or with ``dry_run`` as it would be: admitted, validated, not kept."""

    def replace(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """PUT; Conflict unless ``metadata.resourceVersion`` is current."""

    def delete(self, path: str, *, uid: str | None = None, resource_version: str | None = None) -> None:
        """DELETE with preconditions; NotFound if it is gone already, Conflict if a precondition fails."""

    def watch(
        self, path: str, *, query: Mapping[str, str] | None = None, resource_version: str
    ) -> EventStream:
        """Open one watch. It ends after a few minutes; Gone = list again; silence for too long = Unreachable.

        Entering the result sends the request; leaving it, or closing the stream or this client, ends it at once.
        """

    def close(self) -> None:
        """End all watches and drop pooled connections; used once, at shutdown."""


class ClaimReader(Protocol):
    """Reads ResourceClaims."""

    def read(self, ref: ClaimRef, deadline: Deadline) -> Mapping[str, Any]:
        """GET the claim as raw JSON (any UID). Raises ClusterError."""


# --------------------------------------------------------------------------- the kubelet


class ClaimService(Protocol):
    """What the kubelet's calls come to, one claim at a time; called from many threads at once."""

    def prepare(self, ref: ClaimRef, deadline: Deadline) -> tuple[PreparedDevice, ...]:
        """Prepare one claim; the same answer for the same claim however often it is asked. Raises DraError."""

    def unprepare(self, ref: ClaimRef, deadline: Deadline) -> None:
        """Undo one claim; a claim that is not known is fine. Never talks to the API server. Raises DraError."""


# --------------------------------------------------------------------------- our state on disk


class Records(Protocol):
    """``claims/<uid>.json``. Every write is a temporary file, fsync, rename, fsync of the folder."""

    def load(self, uid: str) -> ClaimRecord | None:
        """Return the record or None. Raises CorruptRecord, NewerRecord, StateError (unreadable)."""

    def save(self, record: ClaimRecord) -> None:
        """Write durably. Raises StateError."""

    def exists(self, uid: str) -> bool:
        """Whether there is a record, readable or not."""

    def version(self, uid: str) -> object | None:
        """Return what is another whenever the record was written anew, cheaply; None if there is no record."""

    def delete(self, uid: str) -> None:
        """Remove durably, with what an interrupted save left; fine if there is none. Raises StateError."""

    def uids(self) -> tuple[str, ...]:
        """UIDs that have a record, sorted. Raises StateError."""

    def unfinished_uids(self) -> frozenset[str]:
        """UIDs of which a save was interrupted. Raises StateError."""

    def set_aside(self, uid: str) -> str:
        """Rename a bad record out of the way, keeping its bytes; returns the new file name. Raises StateError."""

    def set_aside_uids(self) -> frozenset[str]:
        """UIDs of which a bad record was set aside and whose claim was not unprepared since."""

    def forget_set_aside(self, uid: str) -> None:
        """Remove what was set aside for a claim that is now unprepared."""

    def read_set_aside(self, uid: str) -> Mapping[str, ClaimRecord | StateError]:
        """What was set aside for a claim, by file name, and whether it can be read (now). Raises StateError."""

    def restore(self, uid: str, name: str) -> None:
        """Make what was set aside under this name the claim's record again. Raises StateError."""

    def drop_unfinished(self, uid: str) -> None:
        """Remove what an interrupted save left. Raises StateError."""

    def strays(self) -> tuple[str, ...]:
        """Paths in the folder that are no files of ours. Raises StateError."""


class Holds(Protocol):
    """``held/<device>[/<share id>]``, a symbolic link to the UID of the claim that has the device, or a share of it.

    A device is held whole or in shares, never both; many shares of it are held at once.
    """

    def take(self, device: str, share_id: str | None, uid: str) -> str:
        """Hold for ``uid``; returns the UID that holds it now: ``uid`` on success, another claim's if it is taken.

        Raises StateError, also for a claim that has the same device in the other way.
        """

    def release(self, device: str, share_id: str | None, uid: str) -> None:
        """Let go, if and only if the link names ``uid``."""

    def release_all(self, uid: str) -> tuple[str, ...]:
        """Let go of everything that names ``uid`` (scans); returns the keys."""

    def holders(self) -> Mapping[tuple[str, str | None], str]:
        """All holds: (device, share id) -> UID."""

    def strays(self) -> tuple[str, ...]:
        """Paths in the folder that are no holds. Raises StateError."""

    def emptied(self) -> tuple[str, ...]:
        """Devices whose last share is long gone, but not its folder: a crash came between. Raises StateError."""

    def tidy(self) -> None:
        """Remove what is left of devices whose last share is gone; at any time. Raises StateError."""


class Parents(Protocol):
    """``hardware/<parent>.json``: the mode of a parent. Who writes holds the parent's lock."""

    def load(self, parent: str) -> ParentMode | None:
        """Return its mode, None if it is in none. Raises CorruptRecord, NewerRecord, StateError (unreadable)."""

    def save(self, mode: ParentMode) -> None:
        """Write durably. Raises StateError."""

    def delete(self, parent: str) -> None:
        """Remove durably, with what an interrupted save left; fine if there is none. Raises StateError."""

    def drop_unfinished(self, parent: str) -> None:
        """Remove what an interrupted save left. Raises StateError."""

    def set_aside(self, parent: str) -> str:
        """Rename a bad file out of the way, keeping its bytes; returns the new file name. Raises StateError."""

    def is_set_aside(self, parent: str) -> bool:
        """Whether a bad file of it was set aside, and not forgotten since."""

    def forget_set_aside(self, parent: str) -> None:
        """Remove what was set aside. Raises StateError."""

    def has(self, parent: str) -> bool:
        """Whether it has a file, readable, finished or not. Raises StateError."""

    def names(self) -> tuple[str, ...]:
        """Return all parents of which that is so, sorted. Raises StateError."""


class Locks(Protocol):
    """flock(2) on fresh descriptors: excludes threads, processes and a second instance during an upgrade."""

    def claim(self, uid: str, deadline: Deadline) -> AbstractContextManager[None]:
        """Hold the claim's lock. Raises LockTimeout, StateError."""

    def try_claim(self, uid: str) -> AbstractContextManager[bool]:
        """Try once; yields whether the lock was taken. Raises StateError."""

    def try_shared(self, uid: str) -> AbstractContextManager[Callable[[], bool]]:
        """Keep others away for a look, if possible; yields a question: has nobody worked on the claim until now?

        Makes no file. Raises StateError, and so does the question.
        """

    def parents(self, names: Iterable[str], deadline: Deadline) -> AbstractContextManager[None]:
        """Hold the locks of hardware parents, taken in sorted order. Raises LockTimeout, StateError."""

    def stuck(self) -> Mapping[str, str]:
        """Hardware parent -> the change from which the kernel has not returned for long. Raises StateError."""

    def forget_claim(self, uid: str) -> None:
        """Remove the lock file of a claim that has left nothing; called while its lock is held."""

    def claim_uids(self) -> frozenset[str]:
        """UIDs that have a lock file, held or not. Raises StateError."""

    def abandoned_uids(self) -> frozenset[str]:
        """UIDs with a lock file that no call can be about to use: old, or not a file at all. Raises StateError."""


SpecDevices = Mapping[str, Mapping[str, ContainerEdits]]
"""CDI class -> device name -> edits."""


class Specs(Protocol):
    """Per-claim CDI specifications: one file per claim and CDI class in the transient CDI folder."""

    def write(self, uid: str, devices: SpecDevices) -> None:
        """Make the files of this claim say exactly this; unchanged files are not touched. Raises StateError."""

    def delete(self, uid: str) -> None:
        """Remove all files of this claim; fine if there are none. Raises StateError."""

    def unresolved(self, uid: str, ids: Sequence[str]) -> tuple[str, ...]:
        """Return those of ``ids`` that the claim's files on disk do not define. Raises StateError."""

    def uids(self) -> frozenset[str]:
        """UIDs of claims that have files here. Raises StateError."""

    def sweep_temporary(self) -> tuple[str, ...]:
        """Remove old unfinished files of ours; returns their names. Raises StateError."""

    def unfinished_uids(self) -> frozenset[str]:
        """UIDs of claims that have unfinished files here. Raises StateError."""

    def drop_unfinished(self, uid: str) -> None:
        """Remove this claim's unfinished files. Raises StateError."""

    def compare(self, uid: str, devices: SpecDevices) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Return the files that are missing, and those that do not say exactly this. Raises StateError."""


class SharedSpecs(Protocol):
    """CDI ids that another driver gave to claims which are adopted from it.

    Several claims may need the same id, so each id has a file in the transient CDI folder, which goes with the last.
    """

    def define(self, uid: str, ids: Sequence[str], edits: Mapping[str, ContainerEdits]) -> None:
        """Note that this claim needs ``ids`` and write those that have ``edits``, by id. Raises StateError."""

    def release(self, uid: str) -> None:
        """This claim needs nothing any more; fine if it never did. Raises StateError."""

    def unresolved(self, ids: Sequence[str]) -> tuple[str, ...]:
        """Return those of ``ids`` that neither we nor the other driver's own files define. Raises StateError."""

    def uids(self) -> frozenset[str]:
        """UIDs of claims that need such ids. Raises StateError."""

    def inherit(self) -> None:
        """The other driver's own files are ours from now on: :meth:`finish` removes them. Raises StateError."""

    def finish(self) -> None:
        """If no claim needs such ids any more, remove all that defines them. Raises StateError."""


@dataclass(frozen=True, slots=True)
class Found:
    """The bytes of a file, and when it was last written, in seconds since 1970."""

    data: bytes
    modified: float


class CheckpointFile(Protocol):
    """The file in which the driver that this one replaces kept its claims."""

    @property
    def name(self) -> str:
        """Its path, for messages."""

    def read(self) -> Found | None:
        """Return the file, None if there is none; no bytes if it is no regular file or too long. Raises StateError."""

    def set_aside(self, why: Literal["adopted", "corrupt"]) -> str:
        """Keep it under another name, which is returned; nobody else may read it. Raises StateError."""
