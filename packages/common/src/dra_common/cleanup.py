"""Takes a driver off a node for good: its ResourceSlices, CDI files, sockets and everything it keeps on disk.

Nothing is removed while a driver of this name runs or a claim has devices: containers would lose what they were given,
and nobody could take the devices back. The order is such that a kill anywhere leaves what the next run takes up:

.. code-block:: text

    ResourceSlices -> CDI files -> sockets in the kubelet's registry -> the driver's own folder, its lock last
                   -> the simulated machine, if there is one
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from dra_common.cdi import SharedSpecDir, SpecDir
from dra_common.checkpoint import decode_checkpoint
from dra_common.driver import Driver
from dra_common.effects import effect
from dra_common.errors import CheckpointError, ClaimError, KubeletError, NotFound, StateError
from dra_common.files import explained, read_own, remove_durably, sync_folder
from dra_common.flock import try_lock
from dra_common.holds import FileHolds
from dra_common.kubelet.remains import Remains
from dra_common.ports import ApiServer
from dra_common.predecessor import PreparedClaims
from dra_common.publisher import SLICES, selector_of
from dra_common.records import FileRecords, claims_folder
from dra_common.settings import Settings
from dra_common.stores import data_folder

_NAMED = 10
"""Claims that an error names; the others are counted."""


@dataclass(frozen=True, slots=True)
class Thing:
    """Something to remove, and how."""

    name: str
    remove: Callable[[], object]


class Cleanup:
    """What one driver has on one node, and its end.

    Args:
        driver: whose.
        settings: where it has it.
        api: where its ResourceSlices are.
        machine: a simulated machine that goes, too.
    """

    def __init__(
        self, driver: Driver[Any], settings: Settings, api: ApiServer, machine: Path | None = None
    ) -> None:
        self._driver, self._settings, self._api, self._machine = driver, settings, api, machine
        self._data = data_folder(settings, driver)
        self._remains = Remains(driver.name, self._data, settings.kubelet_registry_dir)
        places = settings.cdi_dynamic_root, driver.cdi_vendor, driver.cdi_classes
        self._specs = SpecDir(*places)
        self._shared = SharedSpecDir(
            settings.cdi_dynamic_root, settings.cdi_root, self._data / "adopted", *places[1:]
        )

    def plan(self) -> tuple[str, ...]:
        """Return what :meth:`run` would remove. Raises what it raises, and changes nothing."""
        self._refuse()
        return tuple(thing.name for thing in self._things())

    def run(self, told: Callable[[str], None]) -> None:
        """Remove everything; ``told`` hears of each thing once it is gone.

        Raises KubeletError (a driver runs), ClaimError (claims have devices), SettingsError (a simulator runs),
        ClusterError, StateError. What was removed before an error is gone; it may be run again.
        """
        with self._alone():
            self._refuse()
            for thing in self._things():
                thing.remove()
                told(thing.name)

    # ------------------------------------------------------------------ may it be?

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Have the lock without which no instance publishes. Raises KubeletError, StateError."""
        with ExitStack() as stack:
            if self._data.is_dir():
                path = self._data / "publish.lock"
                descriptor = try_lock(path)
                if descriptor is None:
                    raise KubeletError(
                        f"{self._driver.name} runs on this node: {_said_by(path)}",
                        cure="end it first: helm uninstall, or delete its DaemonSet",
                    )
                stack.callback(os.close, descriptor)
            yield

    def _refuse(self) -> None:
        if running := self._remains.why_in_use():
            raise running
        if self._machine is not None:
            from dra_common.simulate import require_vacant  # noqa: PLC0415 - only for simulated machines

            require_vacant(self._machine)
        if held := self._claims():
            names = ", ".join(sorted(held.values())[:_NAMED])
            more = f" and {len(held) - _NAMED} more" if len(held) > _NAMED else ""
            raise ClaimError(
                f"{len(held)} claim{'s' * (len(held) > 1)} on this node still {_have(len(held))} devices of"
                f" {self._driver.name}: {names}{more}",
                cure="start the driver again and delete the pods that use them; for a claim whose pod is gone:"
                " `claims release UID`",
            )

    def _claims(self) -> dict[str, str]:
        """UID -> how to call it, of every claim that has something here. Raises StateError."""
        uids = self._shared.uids() | set(self._of_predecessor())
        names = dict.fromkeys(uids, "")
        if (folder := claims_folder(self._data)).is_dir():
            records = FileRecords(folder)
            for uid in (*records.uids(), *records.set_aside_uids()):
                names[uid] = _full_name(records, uid)
        if (folder := self._data / "held").is_dir():
            names = dict.fromkeys(FileHolds(folder).holders().values(), "") | names
        return {uid: name or f"uid {uid}" for uid, name in names.items()}

    def _of_predecessor(self) -> Iterator[str]:
        """UIDs in the file of another driver of this name that nobody adopted. Raises StateError."""
        file = PreparedClaims(self._data)
        found = file.read()
        if found is None:
            return
        kinds = [f"{self._driver.cdi_vendor}/{name}" for name in self._driver.cdi_classes]
        try:
            claims = decode_checkpoint(found.data, self._driver.name, kinds).claims
        except CheckpointError as error:
            raise StateError(
                f"{file.name} cannot tell which claims another driver left: {error.message}",
                cure="move it away once no pod uses a device of this node",
            ) from error
        yield from (claim.uid for claim in claims)

    # ------------------------------------------------------------------ what there is

    def _things(self) -> Iterator[Thing]:
        """Everything, in the order in which it goes."""
        yield from self._slices()
        for path in (*self._specs.files(), *self._shared.files()):
            yield Thing(f"CDI file {path}", partial(remove_durably, path))
        for path in self._remains.sockets():
            yield Thing(f"socket {path}", partial(remove_durably, path))
        if self._data.is_dir():
            yield Thing(f"folder {self._data}", self._remove_data)
        if self._machine is not None and self._machine.is_dir():
            from dra_common.simulate import remove  # noqa: PLC0415 - only for simulated machines

            yield Thing(f"simulated machine {self._machine}", partial(remove, self._machine))

    def _slices(self) -> Iterator[Thing]:
        node = self._settings.node_name
        answer = self._api.list(SLICES, query={"fieldSelector": selector_of(self._driver.name, node)})
        for item in answer["items"]:
            name, uid = item["metadata"]["name"], item["metadata"]["uid"]
            yield Thing(f"ResourceSlice {name}", partial(self._delete, name, uid))

    def _delete(self, name: str, uid: str) -> None:
        with suppress(NotFound):  # somebody was faster
            self._api.delete(f"{SLICES}/{name}", uid=uid)

    def _remove_data(self) -> None:
        self._shared.finish()  # the file of another driver that was kept for its claims
        remove_tree(self._data, last="publish.lock")


def _have(number: int) -> str:
    return "have" if number > 1 else "has"


def _full_name(records: FileRecords, uid: str) -> str:
    try:
        record = records.load(uid)
    except StateError:
        return ""
    return str(record.ref) if record else ""


def _said_by(path: Path) -> str:
    text = (read_own(path) or b"").decode(errors="replace")
    return " ".join("".join(filter(str.isprintable, text)).split()) or "it does not say who it is"


def remove_tree(folder: Path, *, last: str = "") -> None:
    """Remove a folder with all that is in it, the entry ``last`` after all others; links are not followed.

    Raises StateError.
    """
    with explained("remove", folder):
        _empty(folder, last)
        with effect("remove", folder):
            folder.rmdir()
        sync_folder(folder.parent)


def _empty(folder: Path, last: str = "") -> None:
    for path in sorted(folder.iterdir(), key=lambda path: (path.name == last, path.name)):
        if stat.S_ISDIR(path.lstat().st_mode):
            _empty(path)
            with effect("remove", path):
                path.rmdir()
        else:
            with effect("remove", path):
                path.unlink()
