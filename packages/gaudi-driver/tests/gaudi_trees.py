"""Gaudis in a sysfs and a devfs made by hand."""

from __future__ import annotations

from gaudi_driver.driver import GaudiDriver
from gaudi_driver.policy import GaudiPolicy
from trees import Tree


def configured(**policy: object) -> GaudiDriver:
    """The driver with a policy of these fields."""
    driver = GaudiDriver()
    driver.configure(GaudiPolicy.model_validate(policy))
    return driver


class GaudiTree(Tree):
    """One with Gaudis."""

    def gaudi(
        self, bdf: str, device: str = "0x1020", *, below: str = "pci0000:42/0000:42:02.0", **more: str
    ) -> str:
        """An unbound one."""
        files = {"vendor": "0x1da3", "class": "0x120000", "device": device, "numa_node": "0"} | more
        return self.function(bdf, below=below, **files)

    def start(
        self, bdf: str, index: int, module: int, *, network: bool = True, layout: str = "accel"
    ) -> None:
        """Bind to habanalabs, which makes nodes; ``network``: also that of RDMA."""
        self.bind(bdf, "habanalabs")
        folder = self.folders[bdf]
        compute, control = f"accel{index}", f"accel/accel_controlD{index}"
        place = f"accel/{compute}"
        if layout == "habanalabs":
            place = compute = f"hl{index}"
            control = f"hl_controlD{index}"
        self.file(f"{folder}/{layout}/{compute}/dev", "261:0\n")
        self.file(f"dev/{place}", "")
        self.file(f"dev/{control}", "")
        texts = {"module_id": str(module), "status": "Operational", "device_type": "GAUDI2", "pci_addr": bdf}
        for name, text in texts.items():
            self.file(f"{folder}/{name}", f"{text}\n")
        if network:
            self.file(f"{folder}/infiniband_verbs/uverbs{index}/dev", "231:192\n")
            self.file(f"dev/infiniband/uverbs{index}", "")
