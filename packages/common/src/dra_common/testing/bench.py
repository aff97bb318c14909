"""A node without a kubelet: hardware, state and CDI folders with the whole claim engine on them, all real files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dra_common.host import RealHost, Roots
from dra_common.taints import claim_taints
from dra_common.testing.knobs import DRIVER, KnobDriver
from dra_common.testing.rig import NODE, Bell, FakeClaims, Rig, soon

__all__ = ["NODE", "Bell", "Bench", "FakeClaims", "config", "soon"]


class Bench(Rig[KnobDriver]):
    """A node: its hardware, its state folder, its CDI folder; ``start()`` is a fresh process on it."""

    def __init__(self, root: Path, devices: Sequence[str] = ("a", "b", "c", "d")) -> None:
        super().__init__(root, KnobDriver())
        self.boot = 1
        for folder in ("sys/knobs", "dev", "proc/sys/kernel/random"):
            (root / folder).mkdir(parents=True)
        for name in devices:
            self.knob(name).write_text("1\n")
        self.start()

    def start(self) -> None:
        """Open everything again, as a new process would."""
        roots = Roots(
            sysfs=str(self.root / "sys"),
            devfs=str(self.root / "dev"),
            procfs=str(self.root / "proc"),
            dev_root="/dev",
        )
        self.open(RealHost(roots), f"boot-{self.boot}")

    def make_splittable(self, *names: str) -> None:
        """Let these devices be split: ``<name>-x4`` is the device of which four claims have a part."""
        for name in names:
            self._splits(name).parent.mkdir(exist_ok=True)
            self._splits(name).write_text("0\n")

    def split(self, name: str, parts: int | None = None) -> int:
        """Return into how many parts a device is split, 0 = it is whole; with ``parts``, past the driver, split it."""
        if parts is not None:
            self._splits(name).write_text(f"{parts}\n")
        return int(self._splits(name).read_text())

    def _splits(self, name: str) -> Path:
        return self.root / "sys/splits" / name

    def reboot(self) -> None:
        """Empty the CDI folder, put the hardware back to its defaults, start with another boot id."""
        self.boot += 1
        for path in (self.root / "cdi").glob("*"):
            path.unlink()
        for path in (self.root / "sys/knobs").iterdir():
            path.write_text("1\n")
        self.make_splittable(*(path.name for path in (self.root / "sys").glob("splits/*")))
        self.start()

    def knob(self, name: str) -> Path:
        """Return the file that is the device."""
        return self.root / "sys/knobs" / name

    def tainted(self) -> dict[str, list[str]]:
        """Device -> its taints of claims, without the driver's name."""
        hardware = self.driver.discover(self.host).hardware
        taints = claim_taints(self.driver, self.state.records, f"boot-{self.boot}", hardware)
        return {name: [taint.key.partition("/")[2] for taint in found] for name, found in taints.items()}

    def level(self, name: str) -> int:
        """Return what the device is set to."""
        return int(self.knob(name).read_text())


def config(
    level: object = None, *, source: str = "FromClaim", requests: Sequence[str] = (), **more: object
) -> dict[str, Any]:
    """One opaque entry for the knob driver."""
    fields = {**more} if level is None else {"level": level, **more}
    parameters = {"apiVersion": "knob.example.com/v1", "kind": "KnobConfig", **fields}
    return {
        "source": source,
        "requests": list(requests),
        "opaque": {"driver": DRIVER, "parameters": parameters},
    }
