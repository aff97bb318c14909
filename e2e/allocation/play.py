"""Cases played on a real cluster, step by step, all of them at once."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from dra_common.testing.allocator import Allocation, Unsatisfiable

from allocation.case import Ask, Case, Json, Release, Traits
from allocation.compare import Difference, Machine, disagreement
from allocation.stage import CLASSES, SLICES, Answer, Stage


@dataclass(frozen=True, slots=True)
class Turn:
    """A claim as stored, the machine that it comes to, and what our allocator says."""

    claim: Json
    machine: Machine
    ours: Allocation | Unsatisfiable

    @property
    def name(self) -> str:
        """The claim's name, and its pod's."""
        return str(self.claim["metadata"]["name"])


@dataclass(slots=True)
class Tally:
    """What came of it."""

    differences: list[Difference] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    def count(self, turn: Turn, answer: Answer) -> None:
        """Remember what kinds of allocation there were, so that a test can ask for enough of each."""
        self.counts["claims"] += 1
        if answer.allocation is None:
            self.counts["refused"] += 1
            return
        self.counts["given"] += 1
        results = answer.allocation["devices"].get("results", [])
        self.counts["shares"] += sum("shareID" in result for result in results)
        self.counts["administrators"] += sum(result.get("adminAccess", False) for result in results)
        self.counts["alternatives"] += sum("/" in result["request"] for result in results)
        self.counts["constraints"] += "constraints" in turn.claim["spec"]["devices"]
        self.counts["counters"] += sum(_consumes(turn.machine, result) for result in results)


class Play:
    """All cases, in rounds: in each every case takes its next step, and the scheduler has them all at once."""

    def __init__(self, stage: Stage, cases: Sequence[Case], traits: Traits) -> None:
        self._stage = stage
        self._cases = cases
        self._traits = traits
        self._slices: dict[str, list[Json]] = {case.name: [] for case in cases}
        self._classes: dict[str, list[Json]] = {case.name: [] for case in cases}
        self.tally = Tally()

    def run(self) -> Tally:
        """Play to the end."""
        self._stage.furnish(self._cases)
        self._read()
        for number in range(max(len(case.steps) for case in self._cases)):
            self._round(number)
        return self.tally

    def _read(self) -> None:
        """Take slices and classes as the server has them: it drops fields of features that are off."""
        for path, into in ((SLICES, self._slices), (CLASSES, self._classes)):
            for item in self._stage.api.items(path):
                name = item["metadata"]["name"].partition("-")[0]
                if name in into:
                    into[name].append(item)

    def _round(self, number: int) -> None:
        due = [case for case in self._cases if number < len(case.steps)]
        self._stage.drop(
            f"{case.name}-{step.step}" for case in due if isinstance(step := case.steps[number], Release)
        )
        asked = [(case, step.spec) for case in due if isinstance(step := case.steps[number], Ask)]
        claims = self._stage.each(asked, lambda each: self._stage.ask(f"{each[0].name}-{number}", each[1]))
        self._stage.fence()
        given = self._given()
        turns = [
            self._turn(case, claim, given) for (case, _), claim in zip(asked, claims, strict=True) if claim
        ]
        self.tally.counts["not taken by the API server"] += claims.count(None)
        refusals = self._stage.each(turns, self._refusal)
        self._stage.each(turns, lambda turn: self._stage.bring(turn.name, turn.machine.case.name))
        answers = self._stage.answers(turn.name for turn in turns)
        for turn, refusal in zip(turns, refusals, strict=True):
            self._judge(turn, answers[turn.name], refusal)
        self._stage.drop_refused()

    def _given(self) -> Mapping[str, tuple[Json, ...]]:
        """Claims that have something, by case."""
        found: dict[str, tuple[Json, ...]] = {}
        for name, claim in sorted(self._stage.claims().items()):
            if claim.get("status", {}).get("allocation"):
                case = name.partition("-")[0]
                found[case] = (*found.get(case, ()), claim)
        return found

    def _turn(self, case: Case, claim: Json, given: Mapping[str, tuple[Json, ...]]) -> Turn:
        machine = Machine(case, self._slices[case.name], self._classes[case.name], given.get(case.name, ()))
        return Turn(claim, machine, machine.allocator.allocate(claim))

    def _refusal(self, turn: Turn) -> str:
        if isinstance(turn.ours, Unsatisfiable):
            return ""
        return self._stage.refuses(turn.claim, turn.ours.status_allocation)

    def _judge(self, turn: Turn, answer: Answer, refusal: str) -> None:
        self.tally.count(turn, answer)
        what = refusal or disagreement(turn.machine, turn.claim, answer, turn.ours, self._traits)
        if what:
            case, before = turn.machine.case, turn.machine.given
            self.tally.differences.append(Difference(case, turn.claim, before, answer, turn.ours, what))


def _consumes(machine: Machine, result: Json) -> bool:
    return any(
        device["name"] == result["device"] and "consumesCounters" in device
        for item in machine.slices
        if (item["spec"]["driver"], item["spec"]["pool"]["name"]) == (result["driver"], result["pool"])
        for device in item["spec"].get("devices") or ()
    )
