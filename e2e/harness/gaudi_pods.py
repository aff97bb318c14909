"""What a pod has of the Gaudis of a simulated machine, seen from inside it and held against sysfs."""

from collections.abc import Sequence

from harness.driver import Driver
from harness.namespace import Namespace
from harness.release import GAUDI

DRIVER = GAUDI.driver
VARIABLES = ("HABANA_VISIBLE_DEVICES", "HABANA_VISIBLE_MODULES", "HL_VISIBLE_DEVICES")


def environment(namespace: Namespace, pod: str, container: str = "main") -> dict[str, str]:
    """Read the variables of Habana's software that a container was started with."""
    said = namespace.execute(pod, "cat", "/proc/1/environ", container=container)
    pairs = (each.partition("=") for each in said.split("\0"))
    return {name: value for name, _, value in pairs if name in VARIABLES}


def naming(gaudis: Driver, devices: Sequence[str]) -> dict[str, str]:
    """Say what these variables have to be for published devices, in this order."""
    indices = [_index(gaudis, device) for device in devices]
    modules = [(gaudis.function(device) / "module_id").read_text().strip() for device in devices]
    paths = [f"/dev/accel/accel{index}" for index in indices]
    return dict(zip(VARIABLES, map(",".join, (indices, modules, paths)), strict=True))


def nodes_of(gaudis: Driver, *devices: str) -> set[str]:
    """Name the device nodes below ``/dev/accel`` of published devices."""
    indices = [_index(gaudis, device) for device in devices]
    return {f"{kind}{index}" for index in indices for kind in ("accel", "accel_controlD")}


def _index(gaudis: Driver, device: str) -> str:
    (node,) = (gaudis.function(device) / "accel").iterdir()
    return node.name.removeprefix("accel")
