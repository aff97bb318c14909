"""What is told of a prepared claim's devices: their CDI ids, and the device nodes that a container sees."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Generic

from dra_common.claimstatus.content import Identity
from dra_common.driver import H
from dra_common.errors import DraError
from dra_common.lifecycle import Lifecycle
from dra_common.model import ClaimRecord, ContainerEdits
from dra_common.ports import Records


class Facts(Generic[H]):
    """Reads them from the claim's record and from the hardware of now."""

    def __init__(self, lifecycle: Lifecycle[H], records: Records, cdi_vendor: str) -> None:
        self._lifecycle, self._records, self._vendor = lifecycle, records, cdi_vendor

    def of(self, uid: str) -> Mapping[Identity, Mapping[str, Any]] | None:
        """Return what is known of each device; None if the claim is not prepared (any more). Raises nothing of ours.

        ``cdiDevices`` are the ids in the answer, ``deviceNodes`` the paths in the container, left out while they cannot
        be told.
        """
        try:
            record = self._records.load(uid)
        except DraError:
            return None
        if record is None or not self._lifecycle.is_current(record):
            return None
        edits = self._edits(record)
        ids: dict[Identity, list[str]] = {}
        for each in record.answer:
            ids.setdefault((each.pool, each.device, each.share_id), []).extend(each.cdi_ids)
        return {identity: _of_device(names, edits) for identity, names in ids.items()}

    def _edits(self, record: ClaimRecord) -> Mapping[str, ContainerEdits]:
        try:
            classes = self._lifecycle.specs(record)
        except DraError:
            return {}
        if record.adopted:
            return classes.get("", {})
        return {
            f"{self._vendor}/{cdi_class}={name}": edits
            for cdi_class, devices in classes.items()
            for name, edits in devices.items()
        }


def _of_device(ids: Sequence[str], edits: Mapping[str, ContainerEdits]) -> Mapping[str, Any]:
    nodes = [node.path for name in ids if name in edits for node in edits[name].device_nodes]
    return {"cdiDevices": list(ids), **({"deviceNodes": nodes} if nodes else {})}
