"""QATs in a sysfs and a debugfs made by hand."""

from __future__ import annotations

from trees import Tree

PF = "0000:6b:00.0"
VF = "0000:6b:00.1"


class QatTree(Tree):
    """One with QATs."""

    def pf(self, bdf: str = PF, device: str = "0x4940", *, driver: str = "4xxx", **qat: str) -> str:
        """A physical function that offers what ``qat`` says; returns its folder."""
        folder = self._coprocessor(bdf, device, numa_node="0", sriov_totalvfs="16")
        self.file(f"{folder}/sriov_drivers_autoprobe", "1\n")
        if driver:
            self.bind(bdf, driver)
        for name, text in qat.items():
            self.file(f"{folder}/qat/{name}", f"{text}\n")
        return folder

    def up(self, bdf: str = PF, services: str = "sym;asym", **more: str) -> str:
        """A physical function as it should be."""
        return self.pf(bdf, state="up", cfg_services=services, auto_reset="off", **more)

    def vf(
        self,
        bdf: str = VF,
        device: str = "0x4941",
        *,
        pf: str = "",
        group: str = "7",
        driver: str = "vfio-pci",
    ) -> str:
        """A virtual function, of ``pf`` if that is given; returns its folder."""
        folder = self._coprocessor(bdf, device, numa_node="0")
        if driver:
            self.bind(bdf, driver)
        if group:
            self.to(f"{folder}/iommu_group", f"sys/kernel/iommu_groups/{group}")
            self.file(f"dev/vfio/{group}", "")
        if pf:
            self.to(f"{folder}/physfn", self.folders[pf])
            number = sum(1 for place in (self.root / self.folders[pf]).glob("virtfn*"))
            self.to(f"{self.folders[pf]}/virtfn{number}", folder)
        return folder

    def _coprocessor(self, bdf: str, device: str, **more: str) -> str:
        files = {"vendor": "0x8086", "class": "0x0b4000", "device": device} | more
        return self.function(bdf, below="pci0000:6b", **files)
