"""Objects of cases on a real API server, and what the scheduler makes of their pods."""

import itertools
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http import HTTPStatus
from typing import TypeVar

from harness.api import ApiError
from harness.closing import Closing
from harness.errors import HarnessError
from harness.images import BUSYBOX_IMAGE
from harness.namespace import Namespace
from harness.waiting import wait_for

from allocation.case import Case, Json

RESOURCE = "/apis/resource.k8s.io/v1"
SLICES, CLASSES, NODES = f"{RESOURCE}/resourceslices", f"{RESOURCE}/deviceclasses", "/api/v1/nodes"
LABEL = "allocation-test"
FENCE = "fence.example.com"
ANSWERED = 60.0
CALLERS = 6
NO = (
    "cannot allocate all claims",
    "invalid resource pools were encountered",
    'running "DynamicResources" filter plugin',
)
# It tries again by itself.
LATER = ("not found", 'running PreBind plugin "DynamicResources"')
Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Answer:
    """What the scheduler did: the claim's allocation, or None and what it says of the pod."""

    allocation: Json | None
    said: str


class Stage(Closing):
    """A namespace, with nodes that nobody runs and slices that no driver published.

    A context manager: nothing is left afterwards.
    """

    def __init__(self, namespace: Namespace) -> None:
        self.namespace = namespace
        self.api = namespace.cluster.api
        self._claims = namespace.path("resource.k8s.io/v1/resourceclaims")
        self._pods = namespace.path("pods")
        self._fences = itertools.count()
        label = {"metadata": {"labels": {"resource.kubernetes.io/admin-access": "true"}}}
        self.api.merge(f"/api/v1/namespaces/{namespace.name}", label)

    def close(self) -> None:
        """Remove everything; a dump of a failed test would ask each pod for its logs."""
        for path in (self._pods, self._claims):
            self.api.request("DELETE", path)
        wait_for(lambda: not self.claims(), "claims to be gone", ANSWERED, interval=0.2)
        for path in (NODES, SLICES, CLASSES):
            self.api.request("DELETE", path, query={"labelSelector": f"{LABEL}={self.namespace.name}"})

    def each(self, items: Iterable[Item], do: Callable[[Item], Result]) -> list[Result]:
        """Do something with each of them, several at a time."""
        with ThreadPoolExecutor(CALLERS) as executor:
            return list(executor.map(do, items))

    # Machines.

    def furnish(self, cases: Sequence[Case]) -> None:
        """Create nodes, classes and slices, and return when the scheduler knows them."""
        device = [{"name": f"d{number}"} for number in range(100)]
        pool = {"name": "fence", "generation": 1, "resourceSliceCount": 1}
        fence = {"driver": FENCE, "nodeName": "fence", "pool": pool, "devices": device}
        selector = {"cel": {"expression": f'device.driver == "{FENCE}"'}}
        objects = [(NODES, node_object(case.name)) for case in cases]
        objects += [(CLASSES, each) for case in cases for each in case.classes]
        objects += [(SLICES, each) for case in cases for each in case.slices]
        self.each(objects, lambda each: self.add(*each))
        self.add(NODES, node_object("fence"))
        self.add(CLASSES, {"metadata": {"name": FENCE}, "spec": {"selectors": [selector]}})
        self.add(SLICES, {"metadata": {"name": FENCE}, "spec": fence})
        self.fence()

    def add(self, path: str, body: Json) -> Json:
        """Create an object outside of the namespace."""
        labels = {LABEL: self.namespace.name}
        return self.api.create(path, body | {"metadata": body["metadata"] | {"labels": labels}})

    def fence(self) -> None:
        """Return when the scheduler has heard of everything so far: watches deliver in order."""
        name = f"fence-{next(self._fences)}"
        request = {"name": "r", "exactly": {"deviceClassName": FENCE, "count": 1}}
        self.ask(name, {"devices": {"requests": [request]}})
        self.bring(name, "fence")
        self.answers({name: name})

    # Claims and pods. A pod has the name of its claim.

    def ask(self, name: str, spec: Json) -> Json | None:
        """Create a claim; as stored, or None if this server does not take such a claim."""
        try:
            return self.api.create(self._claims, {"metadata": {"name": name}, "spec": spec})
        except ApiError as error:
            if error.status == HTTPStatus.UNPROCESSABLE_ENTITY:
                return None
            raise

    def bring(self, name: str, node: str) -> None:
        """Create the pod of a claim, for one node only."""
        self.api.create(self._pods, _pod(name, node))

    def refuses(self, claim: Json, allocation: Mapping[str, object]) -> str:
        """Say why the API server would not store this allocation for a claim, empty if it would; nothing is stored."""
        path = f"{self._claims}/{claim['metadata']['name']}/status"
        try:
            self.api.request(
                "PUT", path, claim | {"status": {"allocation": allocation}}, query={"dryRun": "All"}
            )
        except ApiError as error:
            return str(error)
        return ""

    def claims(self) -> dict[str, Json]:
        """Read all claims, by name."""
        return {each["metadata"]["name"]: each for each in self.api.items(self._claims)}

    def answers(self, names: Iterable[str]) -> dict[str, Answer]:
        """Wait for what the scheduler says to each of these pods."""
        wanted = set(names)

        def all_said() -> dict[str, str] | None:
            pods = {each["metadata"]["name"]: each for each in self.api.items(self._pods)}
            said = {name: _said(pods[name]) if name in pods else None for name in wanted}
            answered = {name: text for name, text in said.items() if text is not None}
            waiting = sorted(wanted - answered.keys())
            assert not waiting, f"no answer to {', '.join(waiting[:5])}"  # noqa: S101 # what is said if it is late
            return answered or {"": ""}

        answered = wait_for(all_said, "the scheduler's answers", ANSWERED, interval=0.4) or {}
        claims = self.claims()
        return {
            name: Answer(claims[name].get("status", {}).get("allocation"), answered[name]) for name in wanted
        }

    def drop_refused(self) -> None:
        """Delete the pods that are not scheduled, so that they are not tried again; their claims have nothing."""
        self.api.request("DELETE", self._pods, query={"fieldSelector": "spec.nodeName="})

    def drop(self, names: Iterable[str]) -> None:
        """Delete pods that have something and their claims, and return when nobody has it any more."""
        there = {name for name, claim in self.claims().items() if claim.get("status", {}).get("allocation")}
        self.end(there & set(names))

    def end(self, names: Collection[str]) -> None:
        """Delete pods and their claims, and return when nobody has it any more."""
        self.each(names, lambda name: self.api.delete(f"{self._pods}/{name}"))
        self.each(names, lambda name: self.api.delete(f"{self._claims}/{name}"))
        wait_for(lambda: not self.claims().keys() & set(names), "claims to be gone", ANSWERED, interval=0.2)


def _said(pod: Json) -> str | None:
    """What the scheduler says of a pod: empty = it is scheduled; None = nothing yet."""
    if pod["spec"].get("nodeName"):
        return ""
    for condition in pod["status"].get("conditions", []):
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            return _refusal(condition["reason"], condition.get("message", ""))
    return None


def _refusal(reason: str, message: str) -> str | None:
    if any(each in message for each in LATER):
        return None
    if any(each in message for each in NO):
        return f"{reason}: {message}"
    raise HarnessError(f"the scheduler has another reason: {reason}: {message}")


def node_object(name: str) -> Json:
    """Describe a node that is Ready, for as long as anybody believes it."""
    capacity = {"cpu": "8", "memory": "16Gi", "pods": "110"}
    ready = {"type": "Ready", "status": "True", "reason": "Made", "message": "nobody runs it"}
    status = {"capacity": capacity, "allocatable": capacity, "conditions": [ready]}
    return {"metadata": {"name": name}, "status": status}


def _pod(name: str, node: str) -> Json:
    term = {"matchFields": [{"key": "metadata.name", "operator": "In", "values": [node]}]}
    affinity = {
        "nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}
    }
    container = {"name": "main", "image": BUSYBOX_IMAGE, "resources": {"claims": [{"name": "devices"}]}}
    spec = {
        "affinity": affinity,
        # The nodes are without a kubelet, and soon unreachable.
        "tolerations": [{"operator": "Exists"}],
        "terminationGracePeriodSeconds": 0,
        "containers": [container],
        "resourceClaims": [{"name": "devices", "resourceClaimName": name}],
    }
    return {"metadata": {"name": name}, "spec": spec}
