"""The composition root in this process: a made-up driver between a real-looking API server, kubelet and machine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from dra_common.app import App
from dra_common.definition import Definition
from dra_common.model import ClaimRef
from dra_common.settings import HostSettings, Settings
from dra_common.simulate import Simulation
from dra_common.testing.apiserver import FakeApiServer
from dra_common.testing.knobs import DRIVER, KnobDriver

NODE = "node-1"


class World:
    """Everything around the app, below one short folder."""

    def __init__(self, root: Path, api: FakeApiServer, driver: KnobDriver | None = None) -> None:
        self.root, self.api = root, api
        for folder in ("sys/knobs", "dev", "proc/sys/kernel/random", "plugins", "registry"):
            (root / folder).mkdir(parents=True, exist_ok=True)
        for name in ("a", "b"):
            (root / "sys/knobs" / name).write_text("1\n")
        (root / "proc/sys/kernel/random/boot_id").write_text("9d8a2b1e-0000-4000-8000-000000000001\n")
        self.settings = Settings(
            node_name=NODE,
            host=HostSettings(root / "sys", root / "dev", root / "proc", Path("/dev")),
            kubelet_plugins_dir=root / "plugins",
            kubelet_registry_dir=root / "registry",
            cdi_dynamic_root=root / "cdi",
            kubeconfig=api.kubeconfig(root / "kubeconfig"),
            healthcheck_port=-1,
        )
        self.become(driver or KnobDriver())

    def become(self, driver: KnobDriver) -> None:
        """Be the node of another driver."""
        self.driver = driver
        self.definition = Definition(
            "knob-driver", "dra-common", "Turns knobs.", driver, lambda: Simulation({})
        )

    @property
    def state(self) -> Path:
        return self.root / "plugins" / self.driver.name

    def app(self, **changes: object) -> App:
        return App(self.definition, replace(self.settings, **changes))  # type: ignore[arg-type]

    def devices(self) -> list[str]:
        return [device["name"] for item in self.slices() for device in item["spec"].get("devices", ())]

    def slices(self) -> list[dict[str, Any]]:
        """The ResourceSlices of the driver."""
        slices = self.api.objects("ResourceSlice") if self.api.serves("ResourceSlice") else ()
        return [item for item in slices if item["spec"]["driver"] == self.driver.name]

    def claim(self, name: str, device: str, *others: str, level: int = 0) -> ClaimRef:
        """Create a claim that is allocated the device of this driver, and of ``others``, and sets a level on it."""
        drivers = (self.driver.name, *others)
        results = [{"request": "r", "driver": each, "pool": NODE, "device": device} for each in drivers]
        parameters = {"apiVersion": f"{DRIVER}/v1", "kind": "KnobConfig", "level": level}
        config = [
            {"source": "FromClaim", "opaque": {"driver": each, "parameters": parameters}}
            for each in drivers
            if level
        ]
        spec = {"devices": {"requests": [{"name": "r", "exactly": {"deviceClassName": DRIVER}}]}}
        made = self.api.create(
            "ResourceClaim",
            {
                "metadata": {"name": name, "namespace": "default"},
                "spec": spec,
                "status": {"allocation": {"devices": {"results": results, "config": config}}},
            },
        )
        return ClaimRef("default", name, made["metadata"]["uid"])


@contextmanager
def app_world(root: Path, **options: Any) -> Iterator[World]:
    """Yield a world whose API server has these options."""
    with FakeApiServer(**options) as api:
        api.create("Node", {"metadata": {"name": NODE}})
        yield World(root, api)
