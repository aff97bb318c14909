"""Finding Gaudis in sysfs: bound to the kernel driver habanalabs, to another one, or to nothing.

Sources: the ABI document sysfs-driver-habanalabs, ``drivers/accel/habanalabs/common/sysfs.c``. The number of the device
nodes, the place on the board and the order of addresses have nothing to do with one another.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass, replace

from dra_common.driver import Discovery
from dra_common.pci import Facts, Scan, first, number
from dra_common.pci.place import pcie_root
from dra_common.pci.version import driver_version
from dra_common.ports import Host

from gaudi_driver.device import DRIVER, Gaudi
from gaudi_driver.nodes import Place, find
from gaudi_driver.products import product
from gaudi_driver.topology import with_groups

VENDOR = "0x1da3"

_ACCELERATOR = ("0x1200",)
"""PCI base class and subclass: processing accelerator."""

_UVERBS = re.compile(r"uverbs[0-9]{1,6}", re.ASCII)
_FIRMWARE = re.compile(r"hl-[a-z0-9]+-([0-9]{1,5})\.([0-9]{1,5})\.([0-9]{1,5})", re.ASCII)
"""As the texts of firmware versions have it: ``… hl-gaudi2-1.12.1-fw-46.0.5-sec-6 …``."""
_LAST_MODULE = 255


def discover(
    host: Host, only: Collection[str] | None = None, *, network_file: bool = False
) -> Discovery[Gaudi]:
    """Read all Gaudis, or just those named in ``only``. Raises HostError if the PCI bus cannot be listed.

    With ``only``, nothing but these devices is read, and what only the scheduler wants to know stays unknown: PCIe
    root, versions, ports, and the group, which depends on the others. ``network_file`` is noted on each.
    """
    look = _Look(host, whole=only is None)
    scan = Scan(host, VENDOR, _ACCELERATOR, look.read)
    found = scan.all() if only is None else scan.named(only)
    gaudis = sorted((replace(each, network_file=network_file) for each in found), key=lambda each: each.order)
    if only is None:
        gaudis = with_groups(gaudis)
    return Discovery({each.name: each for each in gaudis}, tuple(scan.problems))


@dataclass(slots=True)
class _Look:
    """One look at the machine: what is shared by its devices is read once."""

    host: Host
    whole: bool
    _known: str | None = None

    def read(self, facts: Facts, device_id: str, real_path: str) -> Gaudi:
        gaudi = Gaudi(
            facts.bdf,
            device_id,
            product(device_id),
            driver=facts.link("driver", "drivers"),
            numa_node=facts.number("numa_node"),
        )
        if gaudi.driver == DRIVER:
            place = find(facts)
            said = _Said(facts, place.attributes)
            gaudi = _with_nodes(_with_state(gaudi, said), place, facts)
            if self.whole:
                gaudi = replace(
                    gaudi,
                    driver_version=self._version(),
                    firmware_version=_firmware(said),
                    external_ports=_ports(facts),
                )
        return replace(gaudi, pcie_root=pcie_root(real_path, facts)) if self.whole else gaudi

    def _version(self) -> str:
        if self._known is None:
            self._known = driver_version(self.host, DRIVER)
        return self._known


@dataclass(frozen=True, slots=True)
class _Said:
    """The attributes that the kernel driver makes; while it starts or resets the device, some are not there."""

    facts: Facts
    folder: str

    def text(self, name: str) -> str:
        """Return one, empty if it is not there or cannot be read."""
        if not self.folder:
            return ""
        return self.facts.text_at(self.facts.host.sysfs, f"{self.folder}/{name}") or ""

    def module(self) -> int | None:
        """Return the place on the board."""
        text = self.text("module_id")
        value = number(text)
        if text and (value is None or value > _LAST_MODULE):
            self.facts.note(f"module_id holds {text[:40]!r}, which is no place on a board")
            return None
        return value


def _with_state(gaudi: Gaudi, said: _Said) -> Gaudi:
    return replace(
        gaudi,
        attributes=said.folder,
        module_id=said.module(),
        device_type=said.text("device_type"),
        status=said.text("status"),
    )


def _with_nodes(gaudi: Gaudi, place: Place, facts: Facts) -> Gaudi:
    if not place.nodes.compute and gaudi.status.lower() != "in device creation":
        facts.note(
            f"bound to {DRIVER}, but it has no device node: see the kernel log for why it did not start"
        )
    uverbs = first(facts.children("infiniband_verbs"), _UVERBS)
    return replace(
        gaudi,
        index=place.nodes.index,
        compute=place.nodes.compute,
        control=place.nodes.control,
        uverbs=f"infiniband/{uverbs}" if uverbs else "",
    )


def _firmware(said: _Said) -> str:
    for name in ("fw_os_ver", "preboot_btl_ver", "armcp_kernel_ver", "cpucp_kernel_ver"):
        if match := _FIRMWARE.search(said.text(name)):
            return ".".join(str(int(part)) for part in match.groups())
    return ""


def _ports(facts: Facts) -> int | None:
    """Count the network interfaces: those that lead to other modules have none. None without the network driver."""
    if "net" in facts.entries:
        return len(facts.children("net"))
    return 0 if "infiniband" in facts.entries else None
