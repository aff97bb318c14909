"""The story of everything that goes wrong at once: kills, damaged files, an API server that is away.

It is the same for every driver; a driver says which of its devices an ordinary claim can use.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dra_common.model import ClaimRef, PreparedDevice
from dra_common.testing.allocator import Unsatisfiable
from dra_common.testing.demo.narrator import Narrator
from dra_common.testing.kubelet import KubeletCallError
from dra_common.testing.node import PrepareFailed, SimulatedNode
from dra_common.testing.waiting import wait_until

_CLAIMS, _CALLERS, _KILLS = 16, 8, 6
_SEED = 20
_LONGEST_LIFE = 0.05
"""Seconds from the kubelet's connection to a kill: about as long as a handful of claims takes."""

_KUBELET_PAUSE = 0.1
"""Seconds between two calls for the same claim; a real kubelet waits much longer."""

Answers = dict[ClaimRef, tuple[PreparedDevice, ...]]


def chaos(usable: str) -> Callable[[SimulatedNode, Narrator], None]:
    """Return the story for a driver; ``usable`` is the CEL selector of devices that an ordinary claim can use."""

    def tell(node: SimulatedNode, narrator: Narrator) -> None:
        _start(node, narrator)
        claims = _create(node, narrator, usable, _CLAIMS, "claim")
        answers = _kills(node, narrator, claims)
        _corruption(node, narrator, answers)
        _api_loss(node, narrator, answers, usable)
        _what_was_seen(node, narrator)
        _end(node, narrator, answers)

    return tell


def _start(node: SimulatedNode, narrator: Narrator) -> None:
    narrator.step(f"A simulated machine ({node.profile}) with the real driver")
    with narrator.waiting("the driver starts and registers with the kubelet"):
        node.start_driver()
        devices = node.wait_published()
    narrator.check(f"{len(devices)} devices are published", devices)


def _create(node: SimulatedNode, narrator: Narrator, usable: str, count: int, prefix: str) -> list[ClaimRef]:
    selectors = [{"cel": {"expression": usable}}]
    request = {"name": "one", "exactly": {"deviceClassName": node.driver, "selectors": selectors}}
    names = [f"{prefix}-{number}" for number in range(count)]
    refs = [node.create_claim(name, {"devices": {"requests": [request]}}) for name in names]
    pending = [outcome for outcome in map(node.allocate, refs) if isinstance(outcome, Unsatisfiable)]
    if pending:
        narrator.check(
            f"the machine {node.profile} has {count} devices for {prefix}s",
            truth=False,
            found=str(pending[0]),
        )
    return refs


# --------------------------------------------------------------------------- 2: kills


def _kills(node: SimulatedNode, narrator: Narrator, claims: Sequence[ClaimRef]) -> Answers:
    narrator.step(f"{len(claims)} claims at once, and {_KILLS} times kill -9 while they are prepared")
    retries: Counter[ClaimRef] = Counter()
    with ThreadPoolExecutor(_CALLERS) as pool, narrator.waiting("prepare, kill, start, and again"):
        calls = [pool.submit(_until_prepared, node, ref, retries) for ref in claims]
        _kill_repeatedly(node, calls)
        answers = {ref: call.result() for ref, call in zip(claims, calls, strict=True)}
    narrator.say(f"The kubelet had to call again {retries.total()} times.")
    narrator.check("every claim got its device in the end", all(answers.values()))
    _check_answers(node, narrator, answers)
    return answers


def _kill_repeatedly(node: SimulatedNode, calls: Sequence[Future[Any]]) -> None:
    moments = random.Random(_SEED)  # noqa: S311 - the same story each time
    for _ in range(_KILLS):
        wait(calls, timeout=moments.uniform(0, _LONGEST_LIFE))
        node.kill_driver()
        node.start_driver()


def _until_prepared(
    node: SimulatedNode, ref: ClaimRef, retries: Counter[ClaimRef]
) -> tuple[PreparedDevice, ...]:
    """Call as the kubelet does: again after every failure, through as many starts as there are kills."""

    def call() -> tuple[PreparedDevice, ...]:
        try:
            return node.prepare(ref)
        except (KubeletCallError, PrepareFailed):
            retries[ref] += 1
            return ()

    return wait_until(call, f"claim {ref.name} to be prepared", seconds=500, pause=_KUBELET_PAUSE)


def _check_answers(node: SimulatedNode, narrator: Narrator, answers: Answers) -> None:
    given = Counter(device.device for answer in answers.values() for device in answer)
    twice = [device for device, times in given.items() if times > 1]
    narrator.check("no device was given twice", not twice, twice)
    narrator.check(
        "each claim gets the same answer again", {ref: node.prepare(ref) for ref in answers} == answers
    )
    nodes = {ref.name: node.resolve(answer).device_nodes for ref, answer in answers.items()}
    narrator.check("every CDI id that was answered resolves to device nodes", all(nodes.values()), nodes)


# --------------------------------------------------------------------------- 3: corruption


def _corruption(node: SimulatedNode, narrator: Narrator, answers: Answers) -> None:
    narrator.step("Damaged files, as bad disks and curious people make them")
    flipped, cut, *_ = answers
    node.kill_driver()
    _flip(_record(node, flipped))
    _record(node, cut).write_bytes(_record(node, cut).read_bytes()[:40])
    narrator.say(f"One bit of the record of {flipped.name} is flipped, that of {cut.name} is cut off,")
    narrator.say("and all CDI files are removed.")
    for path in node.cdi.iterdir():
        path.unlink()
    with _new_lines(node, narrator), narrator.waiting("the driver starts on that"):
        node.start_driver()
    narrator.check(
        "the kubelet's next calls get the same answers, damaged or not",
        {ref: node.prepare(ref) for ref in answers} == answers,
    )
    _check_answers(node, narrator, answers)


def _record(node: SimulatedNode, ref: ClaimRef) -> Path:
    return node.state / "claims" / f"{ref.uid}.json"


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


# --------------------------------------------------------------------------- 4: the API server


def _api_loss(node: SimulatedNode, narrator: Narrator, answers: Answers, usable: str) -> None:
    narrator.step("The API server answers 503 to everything, and the slices are wiped meanwhile")
    (late,) = _create(node, narrator, usable, 1, "late")
    published = len(node.devices())
    with _new_lines(node, narrator):
        node.api.faults.add(status=503)
        for item in node.slices():
            node.api.delete("ResourceSlice", item["metadata"]["name"])
        narrator.check(
            "prepared claims are answered all the same", {r: node.prepare(r) for r in answers} == answers
        )
        gone, *_ = answers
        node.unprepare(gone)
        del answers[gone]
        narrator.check(f"claim {gone.name} is unprepared without it", not node.leftovers_of(gone))
        error = node.refusal(late)
        narrator.check(
            "a new claim cannot be prepared, and the pod's events will say why", "503" in error, error
        )
        narrator.say(error)
        node.api.faults.clear()
        with narrator.waiting("it is back"):
            node.wait(lambda: len(node.devices()) == published, "the slices to be repaired")
    narrator.check("the slices are whole again", len(node.wait_published()) == published)
    answers[late] = node.prepare(late)
    narrator.check("the kubelet's retry of the new claim succeeds", answers[late])


# --------------------------------------------------------------------------- 5, 6: what is left


def _what_was_seen(node: SimulatedNode, narrator: Narrator) -> None:
    narrator.step("What an operator sees of it")
    rows = json.loads(node.ask("claims", "--json", f"--kubelet-plugins-dir={node.plugins}"))
    phases = Counter(row["phase"] for row in rows)
    narrator.table("claims", ("CLAIMS", "PHASE"), [(str(count), phase) for phase, count in phases.items()])
    narrator.check("all claims of this node are prepared", set(phases) == {"prepared"}, phases)
    lines = node.log.read_text().splitlines()
    tracebacks = [line for line in lines if "Traceback" in line]
    narrator.check(f"no traceback among the {len(lines)} lines of the log", not tracebacks, tracebacks)


def _end(node: SimulatedNode, narrator: Narrator, answers: Answers) -> None:
    narrator.step("Unprepare everything: nothing is left")
    for ref in answers:
        node.unprepare(ref)
    narrator.check("no record, hold, lock or CDI file on the node", node.leftovers() == [], node.leftovers())
    narrator.check("the driver ends with exit code 0 on SIGTERM", node.stop_driver() == 0)


@contextmanager
def _new_lines(node: SimulatedNode, narrator: Narrator) -> Iterator[None]:
    """Show what the driver logs as warning or error while the block runs, with its time and place left out."""
    before = node.log.stat().st_size
    yield
    with node.log.open("rb") as log:
        log.seek(before)
        fresh = log.read().decode(errors="replace").splitlines()
    for line in fresh:
        for level in (" WARNING ", " ERROR "):
            if level in line:
                narrator.say(f"log:{level}{line.partition(level)[2]}")
