"""A node with several instances of the driver of ``rolling_program.py``, of one release or of two."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

from dra_common.model import ClaimRef
from dra_common.testing.forks import Forker
from dra_common.testing.instance import Instance
from dra_common.testing.knobs import DRIVER
from dra_common.testing.node import SimulatedNode

OLD, NEW = (f"{digit * 8}-0000-4000-8000-000000000000" for digit in "12")

_ROOTS = {"sysfs": "sys", "devfs": "dev", "procfs": "proc", "cdi-devfs": "dev"}


class RollingNode(SimulatedNode):
    """Knobs are files ``machine/sys/knobs/<name>`` that hold a level; ``hold`` makes preparations of ``a`` wait."""

    def __init__(self, root: Path, forker: Forker, driver: str = DRIVER) -> None:
        super().__init__(root, module="rolling_program", driver=driver, profile="", forker=forker)
        self.hold = root / "hold"

    def run_arguments(self) -> list[str]:
        simulated = f"--simulated-root={self.machine}"
        others = [argument for argument in super().run_arguments() if argument != simulated]
        return [*others, *(f"--{name}-root={self.machine / place}" for name, place in _ROOTS.items())]

    def instance(self, pod: str, *arguments: str, version: str = "1.0.0", newer: bool = False) -> Instance:
        """Return an instance of the release ``version``, which may be newer than everything there is."""
        environment = {
            "PYTHONPATH": ":".join([str(self._metadata(version)), str(Path(__file__).parent)]),
            "ROLLING_NAME": self.driver,
            "ROLLING_HOLD": str(self.hold),
            **({"ROLLING_NEWER": "1"} if newer else {}),
        }
        return Instance(self, pod, *arguments, environment=environment)

    def level(self, knob: str) -> int:
        return int((self.machine / "sys/knobs" / knob).read_text())

    def claim(self, name: str, knob: str, level: int = 0) -> ClaimRef:
        """Create a claim that has this knob and sets it to ``level``, allocated past the scheduler."""
        request = {"name": "r", "exactly": {"deviceClassName": self.driver}}
        ref = self.create_claim(name, {"devices": {"requests": [request]}})
        result = {"request": "r", "driver": self.driver, "pool": self.name, "device": knob}
        parameters = {"apiVersion": f"{DRIVER}/v1", "kind": "KnobConfig", "level": level}
        config = {"source": "FromClaim", "opaque": {"driver": self.driver, "parameters": parameters}}
        stored: dict[str, Any] = {**(self.api.get("ResourceClaim", name, ref.namespace) or {})}
        devices = {"results": [result], "config": [config] if level else []}
        self.api.put("ResourceClaim", {**stored, "status": {"allocation": {"devices": devices}}})
        return ref

    def _metadata(self, version: str) -> Path:
        """Make what an installer would: importlib.metadata finds the version of the distribution there."""
        folder = self.root / f"site-{version}"
        made = folder / f"rolling-{version}.dist-info"
        made.mkdir(parents=True, exist_ok=True)
        (made / "METADATA").write_text(f"Metadata-Version: 2.1\nName: rolling\nVersion: {version}\n")
        return folder

    def _start_machine(self, stack: ExitStack) -> None:
        del stack  # files need no process
        for place in ("sys/knobs", "dev", "proc/sys/kernel/random"):
            (self.machine / place).mkdir(parents=True)
        for knob in ("a", "b", "c"):
            (self.machine / "sys/knobs" / knob).write_text("1\n")
            (self.machine / "dev" / knob).touch()
        (self.machine / "proc/sys/kernel/random/boot_id").write_text("9d8a2b1e-0000-4000-8000-000000000001\n")
