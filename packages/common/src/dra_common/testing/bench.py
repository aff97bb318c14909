"""A node without a kubelet: hardware, state and CDI folders with the whole claim engine on them, all real files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dra_common.cdi import SharedSpecDir, SpecDir
from dra_common.deadline import Deadline
from dra_common.engine import Engine
from dra_common.errors import NotFound
from dra_common.holds import FileHolds
from dra_common.host import RealHost, Roots
from dra_common.lifecycle import Lifecycle, State
from dra_common.locks import FileLocks
from dra_common.model import ClaimRef
from dra_common.parents import FileParents
from dra_common.records import FileRecords
from dra_common.recovery import Recovered, Recovery
from dra_common.testing.knobs import DRIVER, KnobDriver
from dra_common.testing.ledger import Ledger

NODE = "node-1"


@dataclass
class FakeClaims:
    """The ResourceClaims of the API server; ``down`` makes every GET fail."""

    objects: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    down: Exception | None = None
    reads: int = 0

    def read(self, ref: ClaimRef, deadline: Deadline) -> Mapping[str, Any]:  # noqa: ARG002 - the port's signature
        """Return the stored claim, or fail as the API server would."""
        self.reads += 1
        if self.down:
            raise self.down
        try:
            return self.objects[ref.namespace, ref.name]
        except KeyError:
            raise NotFound(f"claim {ref.namespace}/{ref.name} not found", definite=True) from None


class Bell:
    """A doorbell that remembers why it was rung."""

    def __init__(self) -> None:
        self.reasons: list[str] = []

    def ring(self, reason: str) -> None:
        """Remember the reason."""
        self.reasons.append(reason)


class Bench:
    """A node: its hardware, its state folder, its CDI folder; ``start()`` is a fresh process on it."""

    def __init__(self, root: Path, devices: Sequence[str] = ("a", "b", "c", "d")) -> None:
        self.root = root
        self.claims = FakeClaims()
        self.driver = KnobDriver()
        self.bell = Bell()
        self.told = Ledger()
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
        self.host = RealHost(roots)
        self.records = FileRecords(self.root / "state/claims")
        self.holds = FileHolds(self.root / "state/held")
        self.specs = SpecDir(self.root / "cdi", self.driver.cdi_vendor, self.driver.cdi_classes)
        self.parents = FileParents(self.root / "state/hardware")
        self.locks = FileLocks(self.root / "state/claims", self.root / "state/hardware")
        self.shared = SharedSpecDir(
            self.root / "cdi",
            self.root / "etc/cdi",
            self.root / "state/adopted",
            self.driver.cdi_vendor,
            self.driver.cdi_classes,
        )
        self.state = State(self.records, self.holds, self.specs, self.shared, self.parents)
        self.lifecycle = Lifecycle(
            self.driver, self.host, self.state, self.bell, f"boot-{self.boot}", telemetry=self.told
        )
        self.engine = Engine(self.driver, self.lifecycle, self.claims, self.locks, NODE)

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

    def recover(self) -> Recovered:
        """Run recovery as at start."""
        return Recovery(self.lifecycle, self.state, self.locks, self.told).run()

    def knob(self, name: str) -> Path:
        """Return the file that is the device."""
        return self.root / "sys/knobs" / name

    def level(self, name: str) -> int:
        """Return what the device is set to."""
        return int(self.knob(name).read_text())

    def claim(
        self, name: str, *devices: str | dict[str, Any], config: Sequence[dict[str, Any]] = (), uid: str = ""
    ) -> ClaimRef:
        """Store an allocated claim and return how the kubelet would name it."""
        ref = ClaimRef("default", name, uid or f"uid-{name}")
        results = [
            {
                "request": "r",
                "driver": DRIVER,
                "pool": NODE,
                **(device if isinstance(device, dict) else {"device": device}),
            }
            for device in devices
        ]
        self.claims.objects["default", name] = {
            "metadata": {"namespace": "default", "name": name, "uid": ref.uid},
            "status": {"allocation": {"devices": {"results": results, "config": list(config)}}},
        }
        return ref

    def leftovers(self) -> list[str]:
        """Every file of ours on the node but parents' lock files, which stay for the next claim."""
        globs = ("state/claims/*", "state/held/*", "state/adopted/*", "state/hardware/*.json*", "cdi/*")
        return sorted(str(path.relative_to(self.root)) for glob in globs for path in self.root.glob(glob))


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


def soon(seconds: float = 60) -> Deadline:
    """Return a deadline that a test never reaches unless it means to."""
    return Deadline.after(seconds)
