"""Nodes that another driver of the same name has left: its checkpoint, its CDI file, its claims."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dra_common.adoption import Adopted, Adoption
from dra_common.model import ContainerEdits, DeviceNode, PreparedDevice
from dra_common.predecessor import PreparedClaims
from dra_common.testing.bench import NODE, Bench
from dra_common.testing.knobs import Knob, KnobDriver

GOLDEN = Path(__file__).parent / "golden/checkpoint"
BOOTED = 1_000_000
"""When the machine was started, seconds since 1970."""


class GaudiLike(KnobDriver):
    """Knows the Go driver's id for a whole claim, by which a container gets the environment of all its devices."""

    name = "gaudi.intel.com"
    cdi_vendor = "intel.com"
    cdi_classes = ("gaudi", "gaudi-spare")

    def adopted_edits(
        self, answer: Sequence[PreparedDevice], hardware: Mapping[str, Knob], dev_root: str
    ) -> Mapping[str, ContainerEdits]:
        """Every id that is no device's is the claim's."""
        made = {}
        for name in (name for device in answer for name in device.cdi_ids):
            device = name.partition("=")[2]
            if device in hardware:
                made[name] = ContainerEdits(device_nodes=(DeviceNode(f"{dev_root}/accel/{device}"),))
            else:
                visible = ",".join(each.device for each in answer)
                made[name] = ContainerEdits(env=(f"HABANA_VISIBLE_DEVICES={visible}",))
        return made


class QatLike(KnobDriver):
    """Knows the Go driver's id for VFIO's control node, which all claims share."""

    name = "qat.intel.com"
    cdi_vendor = "intel.com"
    cdi_classes = ("qat", "qat-spare")

    def adopted_edits(
        self, answer: Sequence[PreparedDevice], hardware: Mapping[str, Knob], dev_root: str
    ) -> Mapping[str, ContainerEdits]:
        """The control node, and a node for each device."""
        nodes = {f"intel.com/qat={device}": f"{dev_root}/vfio/{device}" for device in hardware}
        nodes["intel.com/qat=qatvf-vfio"] = f"{dev_root}/vfio/vfio"
        ids = {name for device in answer for name in device.cdi_ids}
        return {name: ContainerEdits(device_nodes=(DeviceNode(nodes[name]),)) for name in ids & nodes.keys()}


def entry(*devices: str, ids: Sequence[str] | None = None, **changes: Any) -> dict[str, Any]:
    """One claim of the knob driver's predecessor, in the map's form."""
    return {
        "Err": None,
        "Devices": [
            {
                "Requests": ["r"],
                "PoolName": NODE,
                "DeviceName": device,
                "CDIDeviceIDs": [f"example.com/knob={device}"] if ids is None else list(ids),
                **changes,
            }
            for device in devices
        ],
    }


def leave(bench: Bench, claims: Mapping[str, Any] | bytes, *, this_boot: bool = True) -> Path:
    """Write a checkpoint, as if the other driver had been there, in this boot or before it."""
    proc = bench.root / "proc/stat"
    proc.write_text(f"cpu 1 2 3\nbtime {BOOTED}\n")
    path = bench.root / "state/preparedClaims.json"
    path.write_bytes(claims if isinstance(claims, bytes) else json.dumps(claims, indent=2).encode())
    path.chmod(0o600)
    written = BOOTED + (10 if this_boot else -10)
    os.utime(path, (written, written))
    return path


def static_spec(bench: Bench, kind: str, *devices: str, mode: int = 0o600) -> Path:
    """Write the other driver's CDI file."""
    path = bench.root / "etc/cdi" / f"{kind.replace('/', '-')}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = ["---", "cdiVersion: 0.5.0", "devices:"]
    for device in devices:
        node = f"    deviceNodes:\n    - path: /dev/old-{device}"
        lines.append(f"- containerEdits:\n{node}\n  name: {device}")
    path.write_text("\n".join([*lines, f"kind: {kind}", ""]))
    path.chmod(mode)
    return path


def adoption(bench: Bench) -> Adoption[Any]:
    """Adoption as the app does it."""
    return Adoption(
        bench.driver,
        bench.host,
        bench.lifecycle,
        bench.state,
        bench.locks,
        PreparedClaims(bench.root / "state"),
        NODE,
        bench.told,
    )


def adopt(bench: Bench) -> Adopted:
    """A start of the process: recovery, then adoption."""
    bench.recover()
    return adoption(bench).run()


def with_driver(bench: Bench, driver: KnobDriver, *devices: str) -> Bench:
    """Start the bench anew with another driver and its devices."""
    bench.driver = driver
    for device in devices:
        bench.knob(device).write_text("1\n")
    bench.start()
    return bench
