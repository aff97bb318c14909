"""Finding QATs in sysfs: physical functions and their virtual ones, or virtual ones alone, as in a virtual machine.

Nothing that is odd makes a function vanish: it is kept, with the reason why it cannot be used. Sources: the ABI
document sysfs-driver-qat, and for kernels that do not show services there ``dev_cfg`` in debugfs (``adf_cfg.c``).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace

from dra_common.driver import Discovery
from dra_common.errors import HostError, HostNotFound
from dra_common.pci import Facts, Function, Scan, address, group_node, look
from dra_common.pci.place import pcie_root
from dra_common.ports import Host

from qat_driver import faults
from qat_driver.device import Pf, Qat, Vf
from qat_driver.names import address_of
from qat_driver.products import PFS, VFS
from qat_driver.said import Said

VENDOR = "0x8086"

_COPROCESSOR = ("0x0b40",)
"""PCI base class and subclass."""


@dataclass(frozen=True, slots=True)
class _Other:
    """A coprocessor of Intel's that is no QAT."""

    name: str = ""
    driver: str = ""


def discover(host: Host, only: Collection[str] | None = None) -> Discovery[Qat]:
    """Read all functions, or just those named in ``only``. Raises HostError if the PCI bus cannot be listed.

    A VF has its PF with it in either case.
    """
    scan = Scan(host, VENDOR, _COPROCESSOR, _Look(host).read)
    found = scan.all() if only is None else _named(scan, only)
    qats = [each for each in found if not isinstance(each, _Other)]
    here = [each for each in qats if isinstance(each, Pf)] if only is None else _pfs_of(scan, qats)
    pfs = {each.bdf: each for each in here}
    joined = [each if isinstance(each, Pf) else replace(each, pf=pfs.get(each.pf_bdf)) for each in qats]
    joined.sort(key=lambda each: address(each.bdf))
    return Discovery({each.name: each for each in joined}, tuple(scan.problems))


def _named(scan: Scan[Pf | Vf | _Other], names: Collection[str]) -> Iterator[Pf | Vf | _Other]:
    for name in sorted(set(names)):
        if bdf := address_of(name):
            yield from (found for found in scan.one(bdf) if found.name == name)


def _pfs_of(scan: Scan[Pf | Vf | _Other], qats: Collection[Qat]) -> Iterator[Pf]:
    for bdf in sorted({each.pf_bdf for each in qats if isinstance(each, Vf) and each.pf_bdf}):
        yield from (found for found in scan.one(bdf) if isinstance(found, Pf))


@dataclass(frozen=True, slots=True)
class _Look:
    """One look at the machine."""

    host: Host

    def read(self, facts: Facts, device_id: str, real_path: str) -> Pf | Vf | _Other:
        if device_id in PFS:
            return self._pf(facts, device_id, real_path)
        if device_id in VFS:
            return self._vf(facts, device_id, real_path)
        return _Other()

    def _pf(self, facts: Facts, device_id: str, real_path: str) -> Pf:
        function, product = self._function(facts), PFS[device_id]
        said = Said(facts, function.driver)
        pf = Pf(
            facts.bdf,
            device_id,
            product,
            driver=function.driver,
            state=said.state(),
            services=said.services(),
            auto_reset=said.auto_reset(),
            total_vfs=function.total_vfs,
            vfs=tuple(function.vfs.values()),
            iommu_group=function.iommu_group,
            numa_node=facts.number("numa_node"),
            pcie_root=pcie_root(real_path, facts),
        )
        pf = replace(pf, faults=tuple(faults.of_pf(pf)))
        for token in pf.services.unknown:
            facts.note(f"it offers a service that is not known, {token!r}")
        return pf

    def _vf(self, facts: Facts, device_id: str, real_path: str) -> Vf:
        function = self._function(facts)
        vf = Vf(
            facts.bdf,
            device_id,
            VFS[device_id],
            driver=function.driver,
            pf_bdf=function.pf,
            iommu_group=function.iommu_group,
            node=group_node(self.host, function.iommu_group),
            numa_node=facts.number("numa_node"),
            pcie_root=pcie_root(real_path, facts),
        )
        return replace(vf, own_faults=tuple(faults.of_vf(vf)))

    def _function(self, facts: Facts) -> Function:
        """Return what the PCI core says; what is odd there costs no more than the rest of it."""
        driver = facts.link("driver", "drivers")
        try:
            return replace(look(self.host.sysfs, facts.bdf), driver=driver)
        except HostNotFound:
            raise
        except HostError as error:
            facts.note(error.message)
            return Function(facts.bdf, driver=driver)
