"""Where a device is in the machine, as the standard attributes say it."""

from __future__ import annotations

import re
from collections.abc import Mapping

from dra_common.model import Attribute
from dra_common.pci.facts import Facts

PCIE_ROOT = "resource.kubernetes.io/pcieRoot"
"""PCI root complex, ``pci0000:4a``."""
PCI_BUS_ID = "resource.kubernetes.io/pciBusID"
NUMA_NODE = "resource.kubernetes.io/numaNode"

_STANDARD_BUS_ID = re.compile(r"[0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-9a-f]", re.ASCII)
"""What ``resource.kubernetes.io/pciBusID`` may be (Kubernetes, ``deviceattribute``): a VMD's domain is too long."""
_LAST_NUMA_NODE = 1023
"""The highest that ``resource.kubernetes.io/numaNode`` may be (KEP-6072)."""
_ROOT = re.compile(r"pci[0-9a-f]{4,8}:[0-9a-f]{2}", re.ASCII)


def standard(bdf: str, numa_node: int | None) -> Mapping[str, Attribute]:
    """Return address and NUMA node, as far as they are known and the standard allows."""
    found: dict[str, Attribute] = {}
    if _STANDARD_BUS_ID.fullmatch(bdf):
        found[PCI_BUS_ID] = bdf
    if numa_node is not None and numa_node <= _LAST_NUMA_NODE:
        found[NUMA_NODE] = numa_node
    return found


def roots(pcie_root: str) -> Mapping[str, Attribute]:
    """Return the PCIe root, and its bus number by the older name that the Go drivers give it; nothing if unknown."""
    return {"pciRoot": pcie_root.rpartition(":")[2], PCIE_ROOT: pcie_root} if pcie_root else {}


def pcie_root(real_path: str, facts: Facts) -> str:
    """Return ``pci0000:4a`` for a device at ``devices/pci0000:4a/…``; empty, and noted, for one that is elsewhere."""
    top, _, rest = real_path.partition("/")
    root = rest.partition("/")[0]
    if top == "devices" and _ROOT.fullmatch(root):
        return root
    facts.note(f"the PCIe root is unknown: the device is at {real_path}, not below devices/pci…")
    return ""
