"""What a pod has of the GPUs of a simulated machine, seen from inside it and held against sysfs."""

import os

from harness.api import Json
from harness.driver import DRIVER, Driver
from harness.namespace import Namespace

CLAIMS = "resource.k8s.io/v1/resourceclaims"
NO_DRIVER_BEHIND = "No such device or address"
NOT_ALLOWED = "Operation not permitted"


def claim_of(namespace: Namespace, pod: str, name: str = "gpu") -> Json:
    """Read the claim that a pod has under a name."""
    found = namespace.pod(pod)
    (spec,) = (each for each in found["spec"]["resourceClaims"] if each["name"] == name)
    made = {
        each["name"]: each.get("resourceClaimName")
        for each in found["status"].get("resourceClaimStatuses", [])
    }
    return namespace.cluster.api.get(namespace.path(CLAIMS, spec.get("resourceClaimName") or made[name]))


def allocated(claim: Json, driver: str = DRIVER) -> list[str]:
    """Name the GPUs, or devices of another driver, that a claim was allocated, in this order."""
    results = claim.get("status", {}).get("allocation", {}).get("devices", {}).get("results", [])
    return [each["device"] for each in results if each["driver"] == driver]


def nodes_of(gpus: Driver, *devices: str) -> set[str]:
    """Name the device nodes below ``/dev/dri`` of published devices, from the machine's sysfs."""
    found = set()
    for device in devices:
        folder = gpus.function(device) / "drm"
        # Linux also has the name controlD<N> there, without a node.
        found |= {node.name for node in folder.iterdir() if (gpus.machine / "dev/dri" / node.name).exists()}
    return found


def number(gpus: Driver, node: str) -> tuple[str, str]:
    """Give major and minor number of a device node of the machine, as mknod wants them."""
    device = (gpus.machine / "dev/dri" / node).stat().st_rdev
    return str(os.major(device)), str(os.minor(device))


def seen(namespace: Namespace, pod: str, container: str = "main", folder: str = "/dev/dri") -> set[str]:
    """Name the device nodes below a folder of a container."""
    script = f"for each in {folder}/*; do [ -c $each ] && echo ${{each##*/}}; done; true"
    return set(namespace.execute(pod, "sh", "-c", script, container=container).split())


def open_error(namespace: Namespace, pod: str, path: str, container: str = "main") -> str:
    """Open a file in a container; the error's text, empty if it could be opened."""
    said = namespace.execute(pod, "sh", "-c", f"(: < {path}) 2>&1; true", container=container)
    return said.strip().rpartition(": ")[2]


def make_node(
    namespace: Namespace, pod: str, path: str, numbers: tuple[str, str], container: str = "main"
) -> None:
    """Make a character device in a container, as somebody would who wants more than was given."""
    namespace.execute(pod, "mknod", path, "c", *numbers, container=container)
