"""Two allocations of the same claim held against each other."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dra_common.testing.allocator import Allocation, Allocator, Unsatisfiable
from dra_common.testing.allocator.quantities import parse_quantity

from allocation.case import Case, Json, Traits
from allocation.stage import Answer


@dataclass(frozen=True, slots=True)
class Difference:
    """What the scheduler and our allocator do not agree on, with all that is needed to look into it."""

    case: Case
    claim: Json
    before: tuple[Json, ...]
    answer: Answer
    ours: Allocation | Unsatisfiable
    what: str

    def __str__(self) -> str:
        ours = self.ours.status_allocation if isinstance(self.ours, Allocation) else str(self.ours)
        parts = {
            "slices": self.case.slices,
            "classes": self.case.classes,
            "given before": [each["status"]["allocation"]["devices"] for each in self.before],
            "claim": self.claim["spec"],
            "scheduler": self.answer.allocation or self.answer.said,
            "ours": ours,
        }
        lines = [
            f"  {name}: {part if isinstance(part, str) else json.dumps(part)}" for name, part in parts.items()
        ]
        return "\n".join([f"{self.claim['metadata']['name']}: {self.what}", *lines])


@dataclass(frozen=True, slots=True)
class Machine:
    """A case's node as it is when a claim comes: everything as the server has it."""

    case: Case
    slices: Sequence[Json]
    classes: Sequence[Json]
    given: tuple[Json, ...]

    @property
    def allocator(self) -> Allocator:
        """Ours, for this moment."""
        return Allocator(self.slices, self.classes, node=self.case.name, allocated=self.given)


def disagreement(
    machine: Machine, claim: Json, answer: Answer, ours: Allocation | Unsatisfiable, traits: Traits
) -> str:
    """Say how the scheduler's answer is another one than ours, empty if it is not.

    Compared is: whether the claim fits; that nothing in our rules speaks against what the scheduler chose; for each
    device how much of its capacity is taken, configuration and node selector; and where the scheduler's order is
    known, that ours is the same allocation, device by device.
    """
    if (answer.allocation is None) == isinstance(ours, Allocation):
        return "one of them says that it fits"
    if answer.allocation is None or not isinstance(ours, Allocation):
        return ""
    objections = machine.allocator.objections(claim, answer.allocation)
    if objections:
        return f"what the scheduler chose is not legal: {'; '.join(map(str, objections))}"
    theirs, mine = _comparable(answer.allocation), _comparable(ours.status_allocation)
    if not traits.ordered:
        theirs, mine = _without_devices(theirs), _without_devices(mine)
    return "they chose differently" if theirs != mine else ""


def _comparable(allocation: Mapping[str, object]) -> Json:
    """Without what differs each time; quantities as numbers."""
    found: Json = json.loads(json.dumps(allocation))
    found.pop("allocationTimestamp", None)
    for result in found["devices"]["results"]:
        if "shareID" in result:
            result["shareID"] = "there"
        amounts = result.get("consumedCapacity", {})
        for name in amounts:
            amounts[name] = str(parse_quantity(amounts[name]))
    return found


def _without_devices(allocation: Json) -> Json:
    """Only what does not depend on the order in which devices are tried.

    Kubernetes 1.34 names the requests of a configuration also where it is for all of them, which is the same as none.
    """
    names = [result["request"] for result in allocation["devices"]["results"]]
    everything = [set(names), {name.partition("/")[0] for name in names}]
    config = [
        {key: value for key, value in entry.items() if key != "requests" or set(value) not in everything}
        for entry in allocation["devices"].get("config", ())
    ]
    return {"requests": names, "config": config, "nodeSelector": allocation.get("nodeSelector")}
