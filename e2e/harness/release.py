"""A driver as a user installs it: the image of its Containerfile, its chart by helm."""

import hashlib
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from harness.api import Json
from harness.cluster import Cluster
from harness.errors import HarnessError
from harness.settings import CHECKOUT, OUTPUT
from harness.waiting import wait_for

READY = "120s"
# What of the inputs of an image is not in it.
UNUSED = {"tests", "__pycache__", ".hypothesis"}
_GONE = 60.0


@dataclass(frozen=True, slots=True)
class Product:
    """One driver of this checkout: ``name`` is what all its names have in common; ``migration`` a list of values."""

    name: str
    migration: str

    @property
    def driver(self) -> str:
        """The driver's name in the API."""
        return f"{self.name}.intel.com"

    @property
    def package(self) -> str:
        """The folder of its package and its deployment."""
        return f"{self.name}-driver"

    @property
    def image(self) -> str:
        """The image's name on the node."""
        return f"localhost/intel-{self.package}:dev"

    @property
    def chart(self) -> Path:
        """The chart's folder."""
        return CHECKOUT / "deployments" / self.package / "chart"

    @property
    def inputs(self) -> tuple[str, ...]:
        """What the image is made of."""
        folders = ("packages/common", f"packages/{self.package}")
        return (*folders, "deployments/Containerfile", "tools/build_image.py")


GPU = Product("gpu", migration="i915,xe")
GAUDI = Product("gaudi", migration="habana")
PRODUCTS = (GPU, GAUDI)


def build_image(product: Product = GPU) -> Path:
    """Build a driver's image of this checkout unless it is there. Raises ``HarnessError``."""
    target = OUTPUT / "images" / f"intel-{product.package}-{_digest(product)}.tar"
    if target.exists():
        return target
    options = (f"--driver={product.package}", f"--tag={product.image}", f"--output={target}")
    command = [sys.executable, str(CHECKOUT / "tools/build_image.py"), *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise HarnessError(f"the image cannot be built: {done.stderr.strip()[-1000:]}")
    # Those of other checkouts, and what a killed build left of one.
    for other in set(target.parent.glob(f"*intel-{product.package}*")) - {target}:
        other.unlink()
    return target


def _digest(product: Product) -> str:
    """Tell apart what the build reads."""
    found = hashlib.sha256()
    for start in (CHECKOUT / name for name in product.inputs):
        for path in [start] if start.is_file() else sorted(start.rglob("*")):
            if path.is_file() and not UNUSED & set(path.relative_to(CHECKOUT).parts):
                found.update(f"{path.relative_to(CHECKOUT)}\0".encode() + path.read_bytes())
    return found.hexdigest()[:16]


class Release:
    """One release of a driver's chart, in a namespace of its own, with simulated devices unless told otherwise.

    ``values`` are written as for ``--set``.
    """

    def __init__(self, cluster: Cluster, product: Product = GPU, namespace: str = "") -> None:
        self.cluster, self.product, self.name = cluster, product, product.name
        self.namespace = namespace or f"intel-{product.name}"
        self.installed = False
        self.daemonset = f"{self.name}-intel-{product.package}"
        repository, _, tag = product.image.rpartition(":")
        self._always = (
            f"image.repository={repository}",
            f"image.tag={tag}",
            "image.pullPolicy=Never",
            "simulatedDevices.enabled=true",
        )

    def install(self, *values: str) -> None:
        """Install, and return when every pod is ready. Raises ``CommandFailed`` with what helm says."""
        self.installed = True
        self._helm("install", "--create-namespace", *self._sets(values), "--wait", f"--timeout={READY}")

    def upgrade(self, *values: str) -> None:
        """Upgrade to the chart of this checkout with these values, and return when every pod is ready."""
        self._helm("upgrade", "--reset-values", *self._sets(values), "--wait", f"--timeout={READY}")

    def clean(self, *values: str) -> None:
        """Take the driver off the nodes as its README says. Raises ``CommandFailed`` while claims have devices."""
        self.upgrade("cleanup=true", *values)

    def uninstall(self) -> None:
        """Uninstall, and return when no pod is left."""
        self.cluster.helm("uninstall", self.name, "-n", self.namespace, "--wait", f"--timeout={READY}")
        wait_for(lambda: not self.pods(), f"pods of {self.namespace} to be gone", _GONE)
        self.installed = False

    def pods(self, component: str = "") -> list[Json]:
        """Give the pods, or those of one component: ``kubelet-plugin``, ``simulated-machine``."""
        label = f"app.kubernetes.io/instance={self.name}"
        selector = f"{label},app.kubernetes.io/component={component}" if component else label
        return self.cluster.api.items(f"/api/v1/namespaces/{self.namespace}/pods", labelSelector=selector)

    def driver(self) -> str:
        """Give the name of the driver's pod; there must be one."""
        (pod,) = (pod for pod in self.pods("kubelet-plugin") if "deletionTimestamp" not in pod["metadata"])
        return str(pod["metadata"]["name"])

    def execute(self, *command: str) -> str:
        """Run a program in the driver's container; its output."""
        return self.cluster.kubectl("exec", "-n", self.namespace, self.driver(), "--", *command)

    def logs(self) -> str:
        """Read what the driver says."""
        return self.cluster.kubectl("logs", "-n", self.namespace, self.driver())

    def template(self, *values: str) -> str:
        """Render as for this cluster, without asking it; YAML."""
        version = self.cluster.api.get("/version")["gitVersion"]
        return self._helm("template", f"--kube-version={version}", *self._sets(values))

    def _helm(self, action: str, *arguments: str) -> str:
        return self.cluster.helm(action, self.name, str(self.product.chart), "-n", self.namespace, *arguments)

    def _sets(self, values: tuple[str, ...]) -> Iterator[str]:
        for value in (*self._always, *values):
            yield f"--set={value}"
