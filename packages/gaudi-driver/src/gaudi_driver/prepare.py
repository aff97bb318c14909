"""What containers get of Gaudis: device nodes, the variables of Habana's software, its hook. No hardware is changed.

The variables are those of Intel's Go driver and of the runtime that the hook belongs to. They name all Gaudis that a
container uses, in the order of the allocation, so that they are not a device's but the request's, or the claim's.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final

from dra_common.driver import Wanted
from dra_common.errors import DeviceRefused
from dra_common.model import (
    Attribute,
    ClaimEdits,
    ContainerEdits,
    DeviceNode,
    Edits,
    Hook,
    Mount,
    Plan,
    PlannedDevice,
)
from dra_common.pci.place import standard
from pydantic import JsonValue

from gaudi_driver.config import config_of
from gaudi_driver.device import DRIVER, Gaudi
from gaudi_driver.policy import GaudiPolicy

CLASS: Final = "gaudi"
NETWORK_FILE: Final = "/etc/habanalabs/gaudinet.json"
"""Where Habana's software in a container looks for the settings of its ports."""

_NODES, _ORDER = "nodes", "moduleOrder"
"""Keys of a planned device's options."""
_COMPUTE, _CONTROL, _RDMA = "compute", "control", "rdma"

_HOOK_NAME = "habana-container-hook"
_HOOK_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


# --------------------------------------------------------------------------- deciding


def plan(wanted: Sequence[Wanted], hardware: Mapping[str, Gaudi]) -> Plan:
    """Decide for a whole claim. Raises DeviceRefused for a device that cannot be used as was asked.

    An adminAccess result is never refused: it watches what others use, and what has no nodes gives it none.
    """
    for item in wanted:
        if not item.allocated.admin_access:
            _require_usable(hardware[item.allocated.device])
    _require_connected(wanted, hardware)
    return Plan(tuple(PlannedDevice(item.allocated, options=_options(item)) for item in wanted))


def wants_connected(wanted: Wanted) -> bool:
    """Whether the Gaudi has to be connected with the others of the claim."""
    return config_of(wanted).topology == "connected" and not wanted.allocated.admin_access


def _options(wanted: Wanted) -> dict[str, JsonValue]:
    config = config_of(wanted)
    nodes = [_COMPUTE, *([_CONTROL] if config.control_nodes else []), _RDMA]
    if wanted.allocated.admin_access:
        nodes = [_COMPUTE, _CONTROL, _RDMA] if config.admin_nodes == "all" else [_CONTROL]
    return {_NODES: list[JsonValue](nodes), _ORDER: config.module_order}


def _require_usable(gaudi: Gaudi) -> None:
    if gaudi.usable:
        return
    if gaudi.driver != DRIVER:
        why = f"it is bound to {gaudi.driver or 'no kernel driver'}"
        cure = f"bind it to {DRIVER}, then delete and re-create the pod"
    else:
        why = f"{DRIVER} made no device node for it" + (f" (status {gaudi.status!r})" if gaudi.status else "")
        cure = "see the kernel log for why it did not start, then delete and re-create the pod"
    raise DeviceRefused(f"device {gaudi.name} cannot be given to a container: {why}", cure=cure)


def _require_connected(wanted: Sequence[Wanted], hardware: Mapping[str, Gaudi]) -> None:
    gaudis = [hardware[item.allocated.device] for item in wanted if wants_connected(item)]
    groups = {gaudi.group for gaudi in gaudis}
    if len(gaudis) < 2 or (len(groups) == 1 and "" not in groups):  # noqa: PLR2004 - one is connected with itself
        return
    odd = next((gaudi for gaudi in gaudis if gaudi.group != gaudis[0].group or not gaudi.group), gaudis[0])
    raise DeviceRefused(
        f"device {odd.name} is not connected with the other Gaudis of the claim, which its configuration demands "
        "(topology: connected)",
        cure="add a constraint with matchAttribute gaudi.intel.com/oamGroup to the claim, so that the scheduler "
        "chooses Gaudis that are",
    )


# --------------------------------------------------------------------------- edits


def edits(device: PlannedDevice, gaudi: Gaudi, dev_root: str) -> Edits:
    """What one Gaudi gives. Raises DeviceRefused if its node for computing went away since the plan."""
    if not device.allocated.admin_access:
        _require_usable(gaudi)
    nodes = _nodes(gaudi, _wanted(device), dev_root)
    return {CLASS: ContainerEdits(device_nodes=nodes)}


def claim_edits(plan: Plan, hardware: Mapping[str, Gaudi], policy: GaudiPolicy) -> ClaimEdits:
    """What containers get of several Gaudis together; nothing where nobody computes."""
    used = [device for device in plan.devices if _COMPUTE in _wanted(device)]
    used = [device for device in used if hardware[device.allocated.device].usable]
    if not used:
        return ClaimEdits()
    requests: dict[str, list[PlannedDevice]] = {}
    for device in used:
        requests.setdefault(device.allocated.base_request, []).append(device)
    found = hardware.values()
    return ClaimEdits(
        every={CLASS: setup(policy, network_file=any(gaudi.network_file for gaudi in found))},
        requests={request: _visible(devices, hardware) for request, devices in requests.items()},
        whole=_visible(used, hardware),
    )


def metadata(gaudi: Gaudi) -> Mapping[str, Attribute]:
    """What a container is told of its Gaudi: where it is, in the machine and on the board."""
    module = {} if gaudi.module_id is None else {"moduleId": gaudi.module_id}
    return {**standard(gaudi.bdf, gaudi.numa_node), **module}


def static_edits(gaudi: Gaudi, dev_root: str) -> Edits:
    """What users of CDI without Kubernetes get by name: the nodes. Variables and hook are their runtime's to add."""
    if not gaudi.usable:
        return {}
    return {CLASS: ContainerEdits(device_nodes=_nodes(gaudi, (_COMPUTE, _CONTROL, _RDMA), dev_root))}


def setup(policy: GaudiPolicy, *, network_file: bool) -> ContainerEdits:
    """What every container with Gaudis gets: the hook, and the settings of the network ports if the host has them."""
    hook = Hook("createRuntime", policy.hook, (_HOOK_NAME, "createRuntime"), (_HOOK_PATH,))
    mount = Mount(policy.network_file, NETWORK_FILE, type="none", options=("ro", "nosuid", "nodev", "bind"))
    return ContainerEdits(hooks=(hook,), mounts=(mount,) if network_file else ())


def variables(gaudis: Sequence[Gaudi], modules: Sequence[Gaudi]) -> tuple[str, ...]:
    """Return the variables that name these Gaudis; ``modules`` are the same in the order in which to name places.

    Where the place of one is not known, no places are named: a list with gaps would mean other Gaudis.
    """
    named = (
        f"HABANA_VISIBLE_DEVICES={_joined(gaudi.index for gaudi in gaudis)}",
        f"HL_VISIBLE_DEVICES={_joined(f'/dev/{gaudi.compute}' for gaudi in gaudis)}",
    )
    if any(gaudi.module_id is None for gaudi in modules):
        return named
    return (*named, f"HABANA_VISIBLE_MODULES={_joined(gaudi.module_id for gaudi in modules)}")


def _visible(devices: Sequence[PlannedDevice], hardware: Mapping[str, Gaudi]) -> Edits:
    gaudis = [hardware[device.allocated.device] for device in devices]
    modules = gaudis
    if all((device.options or {}).get(_ORDER) == "module" for device in devices):
        modules = sorted(gaudis, key=lambda gaudi: gaudi.module_id or 0)
    return {CLASS: ContainerEdits(env=variables(gaudis, modules))}


def _joined(values: Iterable[object]) -> str:
    return ",".join(map(str, values))


def _wanted(device: PlannedDevice) -> frozenset[str]:
    nodes = (device.options or {}).get(_NODES)
    return frozenset(map(str, nodes)) if isinstance(nodes, list) else frozenset()


def _nodes(gaudi: Gaudi, wanted: Collection[str], dev_root: str) -> tuple[DeviceNode, ...]:
    names = {_COMPUTE: gaudi.compute, _CONTROL: gaudi.control, _RDMA: gaudi.uverbs}
    given = (name for kind, name in names.items() if name and kind in wanted)
    return tuple(DeviceNode.below_dev(name, dev_root) for name in given)
