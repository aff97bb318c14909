"""Finding Gaudis in sysfs: bound to the kernel driver habanalabs, to another one, or to nothing.

Sources: the ABI document sysfs-driver-habanalabs, ``drivers/accel/habanalabs/common/sysfs.c``. Device nodes are in the
class ``accel`` since Linux 6.3; before that, and with older modules built beside the kernel, in the class
``habanalabs``. Their number, the place on the board and the order of addresses have nothing to do with one another.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass, field, replace

from dra_common.driver import Discovery
from dra_common.errors import HostError
from dra_common.pci import Facts, Scan, first
from dra_common.pci.place import pcie_root
from dra_common.pci.version import driver_version
from dra_common.ports import Host

from gaudi_driver.device import DRIVER, Gaudi
from gaudi_driver.products import product
from gaudi_driver.topology import with_groups

VENDOR = "0x1da3"

_ACCELERATOR = ("0x1200",)
"""PCI base class and subclass: processing accelerator."""

_UVERBS = re.compile(r"uverbs[0-9]{1,6}", re.ASCII)
_FIRMWARE = re.compile(r"hl-[a-z0-9]+-([0-9]{1,5})\.([0-9]{1,5})\.([0-9]{1,5})", re.ASCII)
"""As the texts of firmware versions have it: ``… hl-gaudi2-1.12.1-fw-46.0.5-sec-6 …``."""
_DIGITS = re.compile(r"[0-9]+$", re.ASCII)
_LAST_MODULE = 255


@dataclass(frozen=True, slots=True)
class _Layout:
    """How a kernel names the nodes: the folder below the device, which is the folder below devfs, too."""

    folder: str
    compute: re.Pattern[str]
    control: str

    def control_of(self, index: str) -> str:
        return f"{self.control}{index}"


_LAYOUTS = (
    _Layout("accel", re.compile(r"accel[0-9]{1,6}", re.ASCII), "accel/accel_controlD"),
    _Layout("habanalabs", re.compile(r"hl[0-9]{1,6}", re.ASCII), "hl_controlD"),
)


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
    _versions: dict[str, str] = field(default_factory=dict)

    def read(self, facts: Facts, device_id: str, real_path: str) -> Gaudi:
        gaudi = Gaudi(
            facts.bdf,
            device_id,
            product(device_id),
            driver=facts.link("driver", "drivers"),
            numa_node=facts.number("numa_node"),
        )
        if gaudi.driver == DRIVER:
            gaudi = _with_nodes(_with_state(gaudi, facts), facts)
        if not self.whole:
            return gaudi
        if gaudi.driver == DRIVER:
            gaudi = replace(
                gaudi,
                driver_version=self._version(),
                firmware_version=_firmware(facts),
                external_ports=_ports(facts),
            )
        return replace(gaudi, pcie_root=pcie_root(real_path, facts))

    def _version(self) -> str:
        if DRIVER not in self._versions:
            self._versions[DRIVER] = driver_version(self.host, DRIVER)
        return self._versions[DRIVER]


def _with_state(gaudi: Gaudi, facts: Facts) -> Gaudi:
    """Read what the kernel driver says; while it starts or resets the device, some of it is not there."""
    module = facts.number("module_id")
    if module is not None and module > _LAST_MODULE:
        facts.note(f"module_id holds {module}, which is no place on a board")
        module = None
    return replace(
        gaudi,
        module_id=module,
        device_type=facts.text("device_type") or "",
        status=facts.text("status") or "",
    )


def _with_nodes(gaudi: Gaudi, facts: Facts) -> Gaudi:
    uverbs = first(facts.children("infiniband_verbs"), _UVERBS)
    gaudi = replace(gaudi, uverbs=f"infiniband/{uverbs}" if uverbs else "")
    for layout in _LAYOUTS:
        if name := first(facts.children(layout.folder), layout.compute):
            return _numbered(gaudi, layout, name, facts.host)
    for layout in _LAYOUTS:
        if name := _virtual(facts, layout):
            return _numbered(gaudi, layout, name, facts.host)
    if gaudi.status.lower() != "in device creation":
        facts.note(
            f"bound to {DRIVER}, but it has no device node: see the kernel log for why it did not start"
        )
    return gaudi


def _numbered(gaudi: Gaudi, layout: _Layout, name: str, host: Host) -> Gaudi:
    match = _DIGITS.search(name)
    number = match[0] if match else ""
    compute = f"accel/{name}" if layout.folder == "accel" else name
    control = layout.control_of(number)
    there = host.devfs.exists(control)
    return replace(gaudi, index=int(number), compute=compute, control=control if there else "")


def _virtual(facts: Facts, layout: _Layout) -> str:
    """Return the name that some kernels have only among virtual devices, which say their PCI address themselves."""
    place = f"devices/virtual/{layout.folder}"
    try:
        names = facts.host.sysfs.listdir(place)
    except HostError:
        return ""
    for name in names:
        if (
            layout.compute.fullmatch(name)
            and _text(facts.host, f"{place}/{name}/device/pci_addr") == facts.bdf
        ):
            return name
    return ""


def _firmware(facts: Facts) -> str:
    for name in ("fw_os_ver", "preboot_btl_ver", "armcp_kernel_ver", "cpucp_kernel_ver"):
        if match := _FIRMWARE.search(facts.text(name) or ""):
            return ".".join(str(int(part)) for part in match.groups())
    return ""


def _ports(facts: Facts) -> int | None:
    """Count the network interfaces: those that lead to other modules have none. None without the network driver."""
    if "net" in facts.entries:
        return len(facts.children("net"))
    return 0 if "infiniband" in facts.entries else None


def _text(host: Host, path: str) -> str:
    try:
        return host.sysfs.read(path).strip()
    except HostError:
        return ""
