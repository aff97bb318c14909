"""What distinguishes one cluster from another: versions, feature gates, served API versions, places."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from harness.errors import HarnessError

E2E = Path(__file__).parent.parent
CHECKOUT = E2E.parent
# What a run leaves, on purpose: logs, and dumps of failed tests.
OUTPUT = CHECKOUT / ".e2e"
DEFAULT_MINOR = "1.37"


@dataclass(frozen=True, slots=True)
class Settings:
    """One cluster; the defaults are those of the release, as users meet it.

    ``programs`` is the folder of its binaries, ``images`` one of images that the node starts with, ``logs`` a folder on
    the host. ``gates`` go to all components of Kubernetes; ``served`` turns API versions on or off, such as
    ``{"resource.k8s.io/v1beta1": True}``.
    """

    programs: Path
    images: Path
    logs: Path
    gates: Mapping[str, bool] = field(default_factory=dict)
    served: Mapping[str, bool] = field(default_factory=dict)


def switches(text: str) -> dict[str, bool]:
    """Read ``name=true,other=false``. Raises ``HarnessError`` for anything else."""
    found = {}
    for part in filter(None, text.replace(" ", ",").split(",")):
        name, _, value = part.partition("=")
        if value not in ("true", "false"):
            raise HarnessError(f"{part!r} is not a switch", cure="write NAME=true or NAME=false")
        found[name] = value == "true"
    return found


def joined(switched: Mapping[str, bool]) -> str:
    """Write switches as the components of Kubernetes read them."""
    return ",".join(f"{name}={str(value).lower()}" for name, value in switched.items())


def minors() -> list[str]:
    """Versions of Kubernetes that there are tools for, the oldest first."""
    found = (path.parent.name for path in (E2E / "tools").glob("*/go.mod"))
    return sorted(found, key=lambda minor: [int(part) for part in minor.split(".")])


def tools_folder(minor: str) -> Path:
    """Give the folder of a version's go.mod. Raises ``HarnessError`` naming those that there are."""
    if minor not in minors():
        raise HarnessError(f"no cluster of Kubernetes {minor}", cure=f"K8S is one of {', '.join(minors())}")
    return E2E / "tools" / minor
