"""Gaudis in a sysfs and a devfs made by hand."""

from __future__ import annotations

from gaudi_driver.device import Gaudi
from gaudi_driver.driver import GaudiDriver
from gaudi_driver.policy import GaudiPolicy
from gaudi_driver.products import product
from trees import Tree

BOARD = tuple(
    Gaudi(
        f"0000:{0x43 + number:x}:00.0",
        "0x1020",
        product("0x1020"),
        driver="habanalabs",
        index=index,
        compute=f"accel/accel{index}",
        control=f"accel/accel_controlD{index}",
        uverbs=f"infiniband/uverbs{index}",
        module_id=module,
        numa_node=1,
        group="gaudi2-0",
    )
    for number, (index, module) in enumerate([(3, 0), (1, 5), (0, 2), (2, 7)])
)
"""Modules of one board; indices, places and addresses have orders of their own."""


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

    def start(self, bdf: str, index: int, module: int, *, network: bool = True) -> None:
        """Bind to habanalabs, which makes nodes; ``network``: also that of RDMA."""
        self.bind(bdf, "habanalabs")
        folder = self.folders[bdf]
        self.file(f"{folder}/accel/accel{index}/dev", "261:0\n")
        for node in (f"accel{index}", f"accel_controlD{index}"):
            self.file(f"dev/accel/{node}", "")
        texts = {"module_id": str(module), "status": "Operational", "device_type": "GAUDI2", "pci_addr": bdf}
        for name, text in texts.items():
            self.file(f"{folder}/{name}", f"{text}\n")
        if network:
            self.file(f"{folder}/infiniband_verbs/uverbs{index}/dev", "231:192\n")
            self.file(f"dev/infiniband/uverbs{index}", "")
