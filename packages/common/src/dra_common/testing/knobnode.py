"""A simulated node whose devices are knobs: the whole driver process, with hardware that costs nothing.

.. code-block:: python

    with KnobNode(root, devices=("a", "b")) as node:
        node.start_driver()
        ref = node.knob_claim("one", "a", "b", level=5)
        node.prepare(ref)
        assert node.level("a") == 5
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from uuid import uuid4

from dra_common.model import ClaimRef
from dra_common.testing.bench import config
from dra_common.testing.forks import Forker
from dra_common.testing.knobs import DRIVER
from dra_common.testing.node import SimulatedNode

OFF = 1
"""The level of a knob that nobody set."""


class KnobNode(SimulatedNode):
    """A :class:`SimulatedNode` on plain files; ``machine/sys/knobs/<name>`` is a device.

    Args:
        root: an empty folder with a short path.
        devices: names of the machine's devices.
        forker: what the driver's processes come out of; None: each is started from nothing, which takes longer.
    """

    def __init__(
        self, root: Path, devices: Sequence[str] = ("a", "b", "c"), forker: Forker | None = None
    ) -> None:
        super().__init__(
            root, module="dra_common.testing.knob_program", driver=DRIVER, profile="", forker=forker
        )
        self._boots = 0
        self._devices = devices

    def run_arguments(self) -> list[str]:
        """Return the arguments of ``run`` for this node."""
        simulated = f"--simulated-root={self.machine}"
        others = [argument for argument in super().run_arguments() if argument != simulated]
        roots = (f"--{name}-root={self.machine / place}" for name, place in _ROOTS.items())
        return [*others, *roots, "--rescan-seconds=1"]

    def knob(self, device: str) -> Path:
        """Return the file that is the device."""
        return self.machine / "sys/knobs" / device

    def level(self, device: str) -> int:
        """Return what the device is set to."""
        return int(self.knob(device).read_text())

    def have(self, devices: Iterable[str]) -> None:
        """Make these the machine's devices, all of them off."""
        wanted = set(devices)
        for path in self.knob("x").parent.iterdir():
            if path.name not in wanted:
                path.unlink()
        for name in wanted:
            self.knob(name).write_text(f"{OFF}\n")

    def boot(self) -> None:
        """Start the machine (again): another boot id, no CDI files, every device off and with another node."""
        self._boots += 1
        for path in self.cdi.iterdir():
            path.unlink()
        (self.machine / "proc/sys/kernel/random/boot_id").write_text(f"{uuid4()}\n")
        (self.machine / "proc/stat").write_text(f"btime {self.booted}\n")
        self.have(self._devices)
        for path in (self.machine / "dev").iterdir():
            path.unlink()
        for number, name in enumerate(self._devices):
            node = f"knob{number + self._boots}"
            (self.machine / "sys/nodes" / name).write_text(f"{node}\n")
            (self.machine / "dev" / node).touch()

    @property
    def booted(self) -> int:
        """When this boot was, in seconds since 1970 as the machine's ``/proc/stat`` has it; long ago."""
        return 1_000_000 + 1000 * self._boots

    def node_of(self, device: str) -> Path:
        """Return the device's node in this boot."""
        return self.machine / "dev" / (self.machine / "sys/nodes" / device).read_text().strip()

    def knob_claim(self, name: str, *devices: str, level: int = 0, share: str = "") -> ClaimRef:
        """Create a claim that has these devices, allocated past the scheduler.

        ``level`` is what they are set to; with ``share``, a share id, the claim has this share of each.
        """
        request = {"name": "r", "exactly": {"deviceClassName": DRIVER}}
        ref = self.create_claim(name, {"devices": {"requests": [request]}})
        results = [
            {
                "request": "r",
                "driver": DRIVER,
                "pool": self.name,
                "device": device,
                **({"shareID": share} if share else {}),
            }
            for device in devices
        ]
        stored: dict[str, Any] = {**(self.api.get("ResourceClaim", name, ref.namespace) or {})}
        allocated = {"devices": {"results": results, "config": [config(level)] if level else []}}
        self.api.put("ResourceClaim", {**stored, "status": {"allocation": allocated}})
        return ref

    def _start_machine(self, stack: ExitStack) -> None:
        del stack  # files need no process
        for place in ("sys/knobs", "sys/nodes", "dev", "proc/sys/kernel/random"):
            (self.machine / place).mkdir(parents=True)
        self.boot()


_ROOTS = {"sysfs": "sys", "devfs": "dev", "procfs": "proc", "cdi-devfs": "dev"}
