"""Device metadata: a file for each request of a claim that tells its containers of the devices they have (KEP-5304).

The host's file is named after the claim's UID, so that two claims of one name never meet. Where a container sees it is
as the KEP says: below ``/var/run/kubernetes.io/dra-device-attributes``, in
``resourceclaims/<claim>/<request>/<driver>-metadata.json``, or for a claim from a template in
``resourceclaimtemplates/<what the pod calls the claim>/<request>/…``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from dra_common.model import Allocated, Attribute, ClaimRecord, ContainerEdits, MountedFile
from dra_common.ports import SpecDevices
from dra_common.slices.encode import attribute

GROUP: Final = "metadata.resource.k8s.io"
VERSIONS: Final = ("v1beta1", "v1alpha1")
"""The newest first: readers take the first that they know."""
_ROOT: Final = "/var/run/kubernetes.io/dra-device-attributes"


@dataclass(frozen=True, slots=True)
class Told:
    """One device of a claim, and what its containers are told of it; attributes as in a ResourceSlice."""

    allocated: Allocated
    attributes: Mapping[str, Attribute]


def cdi_device(uid: str, allocated: Allocated) -> str:
    """Return the name of the CDI device for one allocated device of a claim."""
    return "-".join(part for part in (uid, allocated.device, allocated.share_id) if part)


def with_metadata(
    classes: SpecDevices, record: ClaimRecord, told: Sequence[Told], driver: str
) -> Mapping[str, Mapping[str, ContainerEdits]]:
    """Return the edits of a claim with a metadata file for each request; pure.

    The file comes with the request's first device that a container gets anything of, so that it is in every container
    that has the request, and only there. A request of whose devices nothing is told has none.
    """
    edits = {cdi_class: dict(devices) for cdi_class, devices in classes.items()}
    requests: dict[str, list[Told]] = {}
    for each in told:
        requests.setdefault(each.allocated.base_request, []).append(each)
    for request, devices in requests.items():
        if any(each.attributes for each in devices):
            _add(
                edits,
                [cdi_device(record.ref.uid, each.allocated) for each in devices],
                _file(record, request, devices, driver),
            )
    return edits


def _add(edits: dict[str, dict[str, ContainerEdits]], names: Sequence[str], file: MountedFile) -> None:
    for name in names:
        for devices in edits.values():
            if name in devices:
                devices[name] = replace(devices[name], files=(*devices[name].files, file))
                return


def _file(record: ClaimRecord, request: str, devices: Sequence[Told], driver: str) -> MountedFile:
    ref = record.ref
    owner = f"resourceclaimtemplates/{record.pod_claim}" if record.pod_claim else f"resourceclaims/{ref.name}"
    body = {
        "metadata": {"name": ref.name, "namespace": ref.namespace, "uid": ref.uid, "generation": 1},
        **({"podClaimName": record.pod_claim} if record.pod_claim else {}),
        "requests": _requests(devices, driver),
    }
    stream = (
        json.dumps({"apiVersion": f"{GROUP}/{version}", "kind": "DeviceMetadata", **body}, indent=2)
        for version in VERSIONS
    )
    path = f"{_ROOT}/{owner}/{request}/{driver}-metadata.json"
    return MountedFile(f"{request}.json", path, "".join(f"{part}\n" for part in stream))


def _requests(devices: Sequence[Told], driver: str) -> list[dict[str, Any]]:
    """Give each request or subrequest its devices; of subrequests the scheduler has chosen one."""
    found: dict[str, list[dict[str, Any]]] = {}
    for each in devices:
        found.setdefault(each.allocated.request, []).append(_device(each, driver))
    return [{"name": name, "devices": entries} for name, entries in found.items()]


def _device(told: Told, driver: str) -> dict[str, Any]:
    attributes = {name: attribute(value) for name, value in sorted(told.attributes.items())}
    entry = {"driver": driver, "pool": told.allocated.pool, "name": told.allocated.device}
    return {**entry, **({"attributes": attributes} if attributes else {})}
