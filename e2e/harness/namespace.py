"""A namespace of one test, and what tests do with pods in it."""

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from harness.api import Json
from harness.cluster import Cluster, CommandFailed
from harness.images import BUSYBOX_IMAGE
from harness.waiting import wait_for

RUNNING = 60.0
GONE = 90.0
IDLE = "trap exit TERM; while :; do sleep 1000 & wait; done"


def pod_manifest(
    name: str, script: str = IDLE, *, claims: Mapping[str, Mapping[str, str]] | None = None, **spec: object
) -> Json:
    """Describe a pod with one busybox container ``main`` that runs a shell script and has all its claims.

    ``claims`` maps a name in the pod to ``{"resourceClaimName": …}`` or ``{"resourceClaimTemplateName": …}``; ``spec``
    are more fields of the pod's spec, or other values for these.
    """
    named = claims or {}
    container = {
        "name": "main",
        "image": BUSYBOX_IMAGE,
        "imagePullPolicy": "Never",
        "command": ["sh", "-c", script],
        "resources": {"claims": [{"name": each} for each in named]},
    }
    full = {
        # There is no DNS server.
        "dnsPolicy": "Default",
        # Nor a use for one; the API server refuses it for a moment to a pod that it does not know to be bound yet.
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": 1,
        "containers": [container],
        "resourceClaims": [{"name": each, **source} for each, source in named.items()],
    }
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": full | spec}


class Namespace:
    """A namespace; objects that are applied go there unless they say otherwise."""

    def __init__(self, cluster: Cluster, name: str) -> None:
        self.cluster = cluster
        self.name = name
        cluster.api.create("/api/v1/namespaces", {"metadata": {"name": name}})
        # Pods are refused until it is there.
        account = f"/api/v1/namespaces/{name}/serviceaccounts/default"
        wait_for(lambda: cluster.api.find(account), f"the service account of namespace {name}")

    def path(self, plural: str, name: str = "") -> str:
        """Give the API path of an object or list: ``pods``, or with a group ``resource.k8s.io/v1/resourceclaims``."""
        group, _, kind = plural.rpartition("/")
        start = f"/apis/{group}" if group else "/api/v1"
        return f"{start}/namespaces/{self.name}/{kind}" + (f"/{name}" if name else "")

    def apply(self, *objects: Mapping[str, Any] | str) -> None:
        """Apply objects, or YAML text."""
        self.cluster.apply(*objects, namespace=self.name)

    def create_pod(self, manifest: Mapping[str, Any]) -> Json:
        """Create a pod, without waiting for it."""
        return self.cluster.api.create(self.path("pods"), manifest)

    def run_pod(self, manifest: Mapping[str, Any], timeout: float = RUNNING) -> Json:
        """Create a pod and wait until all its containers are ready; the pod as it then is."""
        created = self.create_pod(manifest)
        return self.wait_ready(created["metadata"]["name"], timeout)

    def pod(self, name: str) -> Json:
        """Read a pod."""
        return self.cluster.api.get(self.path("pods", name))

    def wait_ready(self, name: str, timeout: float = RUNNING) -> Json:
        """Wait until a pod is Ready; the pod."""

        def ready() -> Json | None:
            found = self.pod(name)
            conditions = {each["type"]: each["status"] for each in found["status"].get("conditions", [])}
            assert conditions.get("Ready") == "True", self._why_not(found)  # noqa: S101 # what is said if it is late
            return found

        return wait_for(ready, f"pod {self.name}/{name} to be Ready", timeout) or {}

    def wait_all_ready(self, timeout: float = RUNNING) -> None:
        """Wait until there are pods here, and as many as Deployments want, and all are Ready."""

        def names() -> list[str]:
            wanted = sum(
                each["spec"]["replicas"] for each in self.cluster.api.items(self.path("apps/v1/deployments"))
            )
            found = [each["metadata"]["name"] for each in self.cluster.api.items(self.path("pods"))]
            return found if len(found) >= max(wanted, 1) else []

        for name in wait_for(names, f"the pods of {self.name}", timeout):
            self.wait_ready(name, timeout)

    def wait_phase(self, name: str, phase: str, timeout: float = RUNNING) -> Json:
        """Wait until a pod is in a phase, such as ``Succeeded``; the pod."""

        def there() -> Json | None:
            found = self.pod(name)
            assert found["status"].get("phase") == phase, self._why_not(found)  # noqa: S101 # what is said if it is late
            return found

        return wait_for(there, f"pod {self.name}/{name} to be {phase}", timeout) or {}

    def _why_not(self, pod: Json) -> str:
        """Say what holds a pod up: its phase, what its containers wait for, and the last event."""
        status = pod["status"]
        waiting = [
            state["waiting"].get("message") or state["waiting"].get("reason", "")
            for each in status.get("containerStatuses", [])
            if "waiting" in (state := each["state"])
        ]
        name = pod["metadata"]["name"]
        events = self.events(name)
        return "; ".join(
            [status.get("phase", "no phase"), *waiting, *(each["message"] for each in events[-1:])]
        )

    def events(self, name: str) -> list[Json]:
        """Give the events of an object here, the newest last."""
        found = self.cluster.api.items(self.path("events"), fieldSelector=f"involvedObject.name={name}")
        return sorted(
            found, key=lambda each: each.get("lastTimestamp") or each["metadata"]["creationTimestamp"]
        )

    def wait_event(self, name: str, reason: str, timeout: float = RUNNING) -> str:
        """Wait until there is an event of this reason of an object; the message of the newest."""

        def told() -> str:
            found = [each["message"] for each in self.events(name) if each["reason"] == reason]
            return str(found[-1]) if found else ""

        return wait_for(told, f"an event {reason} of {self.name}/{name}", timeout)

    def logs(self, pod: str, container: str = "main") -> str:
        """Read the output of a container."""
        return self.cluster.kubectl("logs", "-n", self.name, pod, "-c", container)

    def execute(self, pod: str, *command: str, container: str = "main") -> str:
        """Run a program in a container; its output. Raises ``CommandFailed`` if its exit code is not 0."""
        return self.cluster.kubectl("exec", "-n", self.name, pod, "-c", container, "--", *command)

    def end_container(self, pod: str, container: str) -> None:
        """End a container's first process; the command that does it ends with it, and its exit code says nothing."""
        with suppress(CommandFailed):
            self.execute(pod, "kill", "-TERM", "1", container=container)

    def delete_pod(self, name: str, timeout: float = GONE) -> None:
        """Delete a pod and wait until it is gone from the API server, with its claims unprepared."""
        self.cluster.api.delete(self.path("pods", name))
        self.wait_gone(name, timeout)

    def wait_gone(self, name: str, timeout: float = GONE) -> None:
        """Wait until a pod that was deleted is gone from the API server."""
        gone = self.path("pods", name)
        wait_for(lambda: self.cluster.api.find(gone) is None, f"pod {self.name}/{name} to be gone", timeout)

    def delete(self, timeout: float = GONE) -> None:
        """Delete the namespace, and wait until no pod or claim of it is left; the rest goes a few seconds later."""
        api = self.cluster.api
        # From here on no controller makes a new pod; it would take five more seconds until the others are deleted.
        api.delete(f"/api/v1/namespaces/{self.name}")
        for plural in ("pods", "resource.k8s.io/v1/resourceclaims"):
            path = self.path(plural)
            api.delete(path)
            what = f"all {path} to be gone"
            wait_for(lambda path=path: not api.items(path), what, timeout)  # type: ignore[misc]
