"""Nodes whose Arc Pro B60 (7 VFs at most) may be divided, and claims on its modes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any

from dra_common.model import ClaimRef
from dra_common.pci import Bus, Setting, look
from dra_common.simulate import SimulatedHost
from dra_common.testing.allocator import Allocation
from dra_common.testing.node import SimulatedNode
from driver_nodes import put_status
from gpu_nodes import machine_only, spec

FLEX, B60 = "0000-4d-00-0-0x56c0", "0000-9a-00-0-0xe211"
B60_BDF, PARENT = "0000:9a:00.0", "0000-9a-00-0"
MODES = "devices:\n  - match: {}\n    sriov: {modes: [4, 1, 2]}\n"
CLASS = "gpu-vf.intel.com"
FOUND = (0, True, "xe", "")
"""How the PF is before the first claim: see :func:`state`."""


def config(folder: Path, text: str = MODES) -> str:
    """Write a configuration file; return the argument that names it."""
    path = folder / "config.yaml"
    path.write_text(f"apiVersion: config.gpu.intel.com/v1alpha1\nkind: GpuDriverConfig\n{text}")
    return f"--config={path}"


def machine(folder: Path, before: str, after: str, name: str = "two-gpus") -> str:
    """Write a simulated machine that is another one with some text replaced; return its path."""
    text = (files("gpu_driver") / "profiles" / f"{name}.yaml").read_text()
    assert before in text
    text = text.replace(before, after)
    path = folder / f"{name}.yaml"
    path.write_text(text)
    return str(path)


def make_class(node: SimulatedNode) -> None:
    selector = {
        "cel": {
            "expression": 'device.driver == "gpu.intel.com" && "mode" in device.attributes["gpu.intel.com"]'
        }
    }
    node.api.create("DeviceClass", {"metadata": {"name": CLASS}, "spec": {"selectors": [selector]}})


@contextmanager
def divisible(profile: str = "two-gpus", policy: str = MODES, *more: str) -> Iterator[SimulatedNode]:
    """A node that runs, with this policy."""
    with machine_only(profile) as node:
        make_class(node)
        node.start_driver(config(node.root, policy), *more)
        node.wait_published()
        yield node


def claim(node: SimulatedNode, name: str, mode: str, **parameters: Any) -> ClaimRef:
    """A claim on a share of a mode, allocated as the scheduler does."""
    selector = f'device.attributes["gpu.intel.com"].mode == "{mode}"'
    wanted = spec(selector)
    wanted["devices"]["requests"][0]["exactly"]["deviceClassName"] = CLASS
    ref = node.create_claim(name, wanted)
    outcome = node.allocate(ref)
    assert isinstance(outcome, Allocation), outcome
    if parameters:
        configure(node, ref, **parameters)
    return ref


def configure(node: SimulatedNode, ref: ClaimRef, **parameters: Any) -> None:
    stored: Any = node.api.get("ResourceClaim", ref.name, ref.namespace)
    body = {"apiVersion": "gpu.intel.com/v1alpha1", "kind": "GpuConfig", **parameters}
    entry = {"source": "FromClaim", "requests": [], "opaque": {"driver": "gpu.intel.com", "parameters": body}}
    stored["status"]["allocation"]["devices"]["config"] = [entry]
    put_status(node, ref, stored["status"])


def setting(node: SimulatedNode, bdf: str = B60_BDF) -> Setting:
    with Bus(SimulatedHost(node.machine)) as bus:
        return bus.setting(bdf)


def state(node: SimulatedNode) -> tuple[int, bool | None, str, str]:
    """Number of VFs, autoprobe, kernel driver and override of the PF."""
    found = setting(node)
    return len(found.vfs), found.autoprobe, found.binding.driver, found.binding.override


def bindings(node: SimulatedNode) -> dict[int, str]:
    """VF -> what is bound to it."""
    return {index: vf.driver for index, vf in enumerate(setting(node).vfs) if vf.driver}


def vf_address(node: SimulatedNode, index: int) -> str:
    return look(SimulatedHost(node.machine).sysfs, B60_BDF).vfs[index]


def devices(node: SimulatedNode) -> Mapping[str, Mapping[str, Any]]:
    return {device["name"]: device for device in node.devices()}


def roots(node: SimulatedNode) -> tuple[str, str]:
    """Arguments with which commands find the node."""
    return f"--kubelet-plugins-dir={node.plugins}", f"--simulated-root={node.machine}"
