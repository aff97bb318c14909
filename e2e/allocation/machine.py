"""One machine of known devices, for what schedulers are known to do."""

from dra_common.testing.objects import Object, claim, device_class, exactly, resource_slice

from allocation.case import Case, Json, Traits
from allocation.compare import Machine, disagreement
from allocation.stage import CLASSES, NODES, SLICES, Answer, Stage, node_object

DRIVER = "limits.example.com"
NAME = "limits"


class OneMachine:
    """A node with a pool of devices and a class for them; the slice ``counters`` is there if ``units`` is not 0."""

    def __init__(self, stage: Stage, traits: Traits, *devices: Object, units: int = 0) -> None:
        self._stage = stage
        self._traits = traits
        stage.furnish([])
        stage.add(NODES, node_object(NAME))
        stage.add(CLASSES, device_class(DRIVER))
        count = 2 if units else 1
        if units:
            stage.add(SLICES, _counters(units))
        stage.add(
            SLICES, resource_slice(*devices, driver=DRIVER, node=NAME, name=f"{NAME}-devices", count=count)
        )
        stage.fence()

    @property
    def devices(self) -> list[Json]:
        """Devices as the server keeps them."""
        found: list[Json] = self._stage.api.get(f"{SLICES}/{NAME}-devices")["spec"]["devices"]
        return found

    def lower(self, units: int) -> None:
        """Change the counter, as a driver does whose hardware has lost something."""
        path = f"{SLICES}/{NAME}-counters"
        self._stage.api.merge(path, {"spec": {"sharedCounters": _counters(units)["spec"]["sharedCounters"]}})
        self._stage.fence()

    def gives(self, name: str, capacity: dict[str, str] | None = None, **fields: object) -> bool:
        """Let a pod with a claim for one device come: whether it fits. Our allocator must say the same.

        Raises AssertionError if it does not.
        """
        return self.answer(name, capacity, **fields).allocation is not None

    def bring(self, name: str, **fields: object) -> None:
        """Let a pod with a claim for one device come, without waiting for anything."""
        self._stage.ask(name, claim(exactly(name="r", device_class=DRIVER, **fields))["spec"])
        self._stage.bring(name, NAME)

    def answer(self, name: str, capacity: dict[str, str] | None = None, **fields: object) -> Answer:
        """Give the scheduler's answer, after holding ours against it."""
        amounts = {"capacity": {"requests": capacity}} if capacity else {}
        spec = claim(exactly(name="r", device_class=DRIVER, **amounts, **fields))["spec"]
        stored = self._stage.ask(name, spec) or {}
        self._stage.fence()
        given = tuple(
            each for each in self._stage.claims().values() if each.get("status", {}).get("allocation")
        )
        api = self._stage.api
        machine = Machine(Case(NAME, (), (), ()), api.items(SLICES), api.items(CLASSES), given)
        ours = machine.allocator.allocate(stored)
        self._stage.bring(name, NAME)
        answer = self._stage.answers([name])[name]
        different = disagreement(machine, stored, answer, ours, self._traits)
        if different:
            raise AssertionError(f"{name}: {different}: {answer}; ours: {ours}")
        return answer


def _counters(units: int) -> Object:
    sets = [{"name": "card", "counters": {"units": {"value": str(units)}}}]
    return resource_slice(driver=DRIVER, node=NAME, name=f"{NAME}-counters", count=2, sharedCounters=sets)
