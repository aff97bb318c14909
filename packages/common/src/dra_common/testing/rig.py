"""The whole claim engine of a driver on real files, without a kubelet and an API server."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

from dra_common.cdi import SharedSpecDir, SpecDir
from dra_common.deadline import Deadline
from dra_common.driver import Driver
from dra_common.engine import Engine
from dra_common.errors import NotFound
from dra_common.holds import FileHolds
from dra_common.lifecycle import Lifecycle, State
from dra_common.locks import FileLocks
from dra_common.model import ClaimRef
from dra_common.parents import FileParents
from dra_common.ports import Host
from dra_common.records import FileRecords
from dra_common.recovery import Recovered, Recovery
from dra_common.testing.ledger import Ledger

NODE = "node-1"

D = TypeVar("D", bound=Driver[Any])


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

    def freed(self, devices: Collection[str]) -> None:
        """Nothing is published here."""


class Rig(Generic[D]):
    """State and CDI folders with a driver's engine on them; ``open()`` is a fresh process on it.

    Args:
        root: where its folder ``state`` is.
        driver: the driver.
        cdi: the folder of CDI files, which a reboot empties; by default below ``root``.
    """

    def __init__(self, root: Path, driver: D, cdi: Path | None = None) -> None:
        self.root = root
        self.cdi = cdi or root / "cdi"
        self.driver = driver
        self.claims = FakeClaims()
        self.bell = Bell()
        self.told = Ledger()

    def open(self, host: Host, boot: str) -> None:
        """Open everything again, as a new process would, in the boot with this id."""
        self.host = host
        self.records = FileRecords(self.root / "state/claims")
        self.holds = FileHolds(self.root / "state/held")
        self.specs = SpecDir(self.cdi, self.driver.cdi_vendor, self.driver.cdi_classes)
        self.parents = FileParents(self.root / "state/hardware")
        self.locks = FileLocks(self.root / "state/claims", self.root / "state/hardware")
        self.shared = SharedSpecDir(
            self.cdi,
            self.root / "etc/cdi",
            self.root / "state/adopted",
            self.driver.cdi_vendor,
            self.driver.cdi_classes,
        )
        self.state = State(self.records, self.holds, self.specs, self.shared, self.parents)
        self.lifecycle = Lifecycle(self.driver, host, self.state, self.bell, boot, telemetry=self.told)
        self.engine = Engine(self.driver, self.lifecycle, self.claims, self.locks, NODE)

    def recover(self) -> Recovered:
        """Run recovery as at start."""
        return Recovery(self.lifecycle, self.state, self.locks, self.told).run()

    def claim(
        self, name: str, *devices: str | dict[str, Any], config: Sequence[dict[str, Any]] = (), uid: str = ""
    ) -> ClaimRef:
        """Store an allocated claim and return how the kubelet would name it."""
        ref = ClaimRef("default", name, uid or f"uid-{name}")
        results = [
            {
                "request": "r",
                "driver": self.driver.name,
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
        globs = ("claims/*", "held/*", "adopted/*", "hardware/*.json*")
        state = [path.relative_to(self.root) for glob in globs for path in (self.root / "state").glob(glob)]
        return sorted(map(str, (*state, *(Path("cdi", path.name) for path in self.cdi.glob("*")))))


def soon(seconds: float = 10) -> Deadline:
    """Return a deadline that a test never reaches unless it means to."""
    return Deadline.after(seconds)
