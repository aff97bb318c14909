"""A running one-node Kubernetes, and everything that a test does to it."""

import dataclasses
import json
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from harness import components, node
from harness.api import Api, Json
from harness.closing import Closing
from harness.components import AUDIT, CONF, CONTAINERD_SOCKET, CONTROL_PLANE, GATED, NODE, PKI
from harness.control import START, Control
from harness.errors import HarnessError
from harness.images import write_busybox
from harness.sandbox import SYSTEM_PATH, Sandbox
from harness.settings import Settings
from harness.waiting import wait_for

Result = subprocess.CompletedProcess[str]


class CommandFailed(HarnessError):
    """A program ended with an exit code that is not 0; ``result`` has all its output."""

    def __init__(self, result: Result, shown: str) -> None:
        text = (result.stderr.strip() or result.stdout.strip())[-2000:]
        super().__init__(f"{shown}: exit code {result.returncode}: {text}")
        self.result = result


class Cluster(Closing):
    """A node with its control plane, from namespaces to node Ready; a context manager.

    ``api`` is the API server for an administrator, ``control`` starts and ends components. Raises ``HarnessError`` if
    the cluster cannot be made; nothing is left then either.
    """

    def __init__(self, settings: Settings) -> None:
        self.sandbox = Sandbox(settings.logs, f"{settings.programs}:{SYSTEM_PATH}")
        self.control = Control(self.sandbox, settings)
        self._apis: dict[str, Api] = {}
        self.sandbox.environment |= {
            "KUBECONFIG": str(CONF / "admin.kubeconfig"),
            "CONTAINERD_ADDRESS": CONTAINERD_SOCKET,
            "CONTAINERD_NAMESPACE": "k8s.io",
        }
        try:
            self._bring_up()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End everything; nothing of it is left on the host."""
        for api in self._apis.values():
            api.close()
        self.sandbox.close()

    @property
    def settings(self) -> Settings:
        """Versions, gates and places."""
        return self.control.settings

    def _bring_up(self) -> None:
        self._configure()
        key = str(PKI / "accounts.key")
        self.run("openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", key)
        for name in ("etcd", "containerd", "kube-apiserver"):
            self.control.spawn(name)
        with ThreadPoolExecutor(1) as executor:
            imported = executor.submit(self._import_images)
            self.control.wait_serving("kube-apiserver")
            self.api = self.api_as("admin-token")
            later = ("kube-controller-manager", "kube-scheduler", "kubelet")
            for name in later:
                self.control.spawn(name)
            imported.result()
        for name in later:
            self.control.wait_serving(name)
        self.wait_node_ready()
        account = "/api/v1/namespaces/default/serviceaccounts/default"
        wait_for(lambda: self.api.find(account), "the service account of namespace default")

    def _configure(self) -> None:
        for path, content in components.files(self.settings).items():
            file = self.path(str(path))
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(content)

    def _import_images(self) -> None:
        self.control.wait_serving("containerd")
        for image in sorted(self.settings.images.glob("*.tar")):
            self.load_image(image)
        with tempfile.TemporaryDirectory(dir=self.path("/run/tmp")) as folder:
            self.load_image(write_busybox(Path(folder)))

    # What a test does to the node.

    @contextmanager
    def feature_gates(self, served: Mapping[str, bool] | None = None, **gates: bool) -> Iterator[None]:
        """Run all components with these feature gates, and with these API versions, for a while.

        Each change takes some seconds.
        """
        before = self.settings
        self._reconfigure(
            dataclasses.replace(
                before, gates=dict(before.gates) | gates, served=dict(before.served) | dict(served or {})
            )
        )
        try:
            yield
        finally:
            self._reconfigure(before)

    def _reconfigure(self, settings: Settings) -> None:
        # Asked to end in good order, the API server waits a minute for those who watch.
        for name in reversed(GATED):
            self.control.kill(name)
        self.control.settings = settings
        self._configure()
        for name in GATED:
            self.control.start(name)
        self.wait_node_ready()

    def reboot(self) -> None:
        """Let the node boot: its containers die, ``/run`` (with CDI files) is emptied, the boot id changes.

        The control plane goes on, as that of a larger cluster would. Returns when the node is Ready again.
        """
        for name in reversed(NODE):
            self.control.kill(name)
        self.sandbox.ask("reboot", keep=[name for name in CONTROL_PLANE if self.control.running(name)])
        for name in NODE:
            self.control.start(name)
        self.wait_node_ready()

    @property
    def boot_id(self) -> str:
        """The node's boot id. A container sees it in the node's ``/proc``; in its own it sees the host's."""
        return self.path(node.BOOT_ID).read_text().strip()

    def wait_node_ready(self, timeout: float = START) -> None:
        """Wait until the kubelet has reported this boot of the node to be Ready."""
        what = f"node {node.NAME} to be Ready; the kubelet's log is {self.control.log('kubelet')}"
        wait_for(self._node_ready, what, timeout)

    def _node_ready(self) -> bool:
        self.control.check_alive("kubelet")
        status = (self.api.find(f"/api/v1/nodes/{node.NAME}") or {}).get("status", {})
        if status.get("nodeInfo", {}).get("bootID") != self.boot_id:
            return False
        return any(each["type"] == "Ready" and each["status"] == "True" for each in status["conditions"])

    # What a test uses.

    def path(self, inside: str) -> Path:
        """Give the path, from here, of a file of the node such as ``/var/run/cdi``."""
        return self.sandbox.path(inside)

    def api_as(self, token: str) -> Api:
        """Give the API server for whoever has this token."""
        if token not in self._apis:
            certificate = self.path(str(PKI / "apiserver.crt")).read_text()
            self._apis[token] = Api(self.sandbox, certificate, token)
        return self._apis[token]

    def run(
        self,
        *command: str,
        given: str | None = None,
        timeout: float = 120,
        environment: Mapping[str, str] | None = None,
    ) -> str:
        """Run a program on the node; its output. Raises ``CommandFailed`` if its exit code is not 0."""
        result = self.sandbox.run(command, given=given, timeout=timeout, environment=environment)
        if result.returncode:
            raise CommandFailed(result, " ".join(command))
        return result.stdout

    def kubectl(self, *arguments: str, given: str | None = None, timeout: float = 120) -> str:
        """Run kubectl as administrator; its output."""
        return self.run("kubectl", *arguments, given=given, timeout=timeout)

    def kubectl_json(self, *arguments: str) -> Json:
        """Run kubectl with ``-o json``; the object."""
        found: Json = json.loads(self.kubectl(*arguments, "-o", "json"))
        return found

    def apply(self, *objects: Mapping[str, Any] | str, namespace: str = "default") -> None:
        """Apply objects, or YAML text, as ``kubectl apply`` does."""
        texts = [each if isinstance(each, str) else json.dumps(each) for each in objects]
        self.kubectl("apply", "-n", namespace, "-f", "-", given="\n---\n".join(texts))

    def helm(self, *arguments: str, timeout: float = 300) -> str:
        """Run helm as administrator; its output. It sees the files of this machine."""
        return self.run("helm", *arguments, timeout=timeout)

    def load_image(self, image: Path) -> None:
        """Make an image in a tar file (see ``harness.oci``) known to the node under the name it has there."""
        # Its path on this machine may be one that the node covers (/run, say).
        inside = Path("/run/tmp") / f"{image.stat().st_ino}-{image.name}"
        target = self.path(str(inside))
        target.write_bytes(image.read_bytes())
        try:
            self.run("ctr", "images", "import", str(inside), timeout=300)
        finally:
            target.unlink()

    def audit(self, user: str = "") -> list[Json]:
        """Give every request that the API server completed, in order; those of one user if given."""
        lines = (self.settings.logs / AUDIT).read_text().splitlines()
        events: list[Json] = [json.loads(line) for line in lines]
        return [event for event in events if not user or event["user"].get("username") == user]
