"""Who gets what of a claim of several requests: as a kubelet picks ids, and a runtime applies them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from dra_common.claimstatus import Facts
from dra_common.model import ClaimEdits, ClaimRef, ContainerEdits, Edits, Hook, Plan, PreparedDevice
from dra_common.testing.bench import Bench, soon
from dra_common.testing.cdi import ResolvedEdits, resolve
from dra_common.testing.knobs import Knob, KnobDriver

HOOK = Hook("createRuntime", "/usr/bin/tune", ("tune",))


def listed(names: Sequence[str]) -> Edits:
    return {"knob": ContainerEdits(env=(f"KNOBS={','.join(names)}",))}


class ListedKnobs(KnobDriver):
    """Its containers get the list of all knobs that they use, and one hook."""

    once = True

    def claim_edits(self, plan: Plan, hardware: Mapping[str, Knob], dev_root: str) -> ClaimEdits:
        if not self.once:
            return ClaimEdits()
        assert hardware.keys() >= {each.allocated.device for each in plan.devices}
        assert dev_root == "/dev"
        names: dict[str, list[str]] = {}
        for each in plan.devices:
            names.setdefault(each.allocated.base_request, []).append(each.allocated.device)
        return ClaimEdits(
            every={"knob": ContainerEdits(hooks=(HOOK,))},
            requests={request: listed(devices) for request, devices in names.items()},
            whole=listed([each.allocated.device for each in plan.devices]),
        )


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    bench = Bench(tmp_path)
    bench.driver = ListedKnobs()
    bench.start()
    return bench


def given(bench: Bench, answer: Sequence[PreparedDevice], request: str = "") -> ResolvedEdits:
    """As the kubelet does: all ids of what has the request, or has none, or of everything if none is named."""
    mine = [each for each in answer if not request or not each.requests or request in each.requests]
    return resolve([name for each in mine for name in each.cdi_ids], [bench.root / "cdi"])


def two_requests(bench: Bench) -> ClaimRef:
    parts = (("a", "left"), ("b", "right/first"), ("c", "left"))
    return bench.claim("one", *({"device": device, "request": request} for device, request in parts))


def test_a_container_has_the_variables_of_what_it_uses_and_each_hook_once(bench: Bench) -> None:
    answer = bench.engine.prepare(two_requests(bench), soon())
    left, right, whole = (given(bench, answer, request) for request in ("left", "right", ""))
    assert [each.env["KNOBS"] for each in (left, right, whole)] == ["a,c", "b", "a,b,c"]
    assert [len(each.hooks) for each in (left, right, whole)] == [1, 1, 1]
    nodes = [sorted(each.device_nodes) for each in (left, right, whole)]
    assert nodes == [["/dev/a", "/dev/c"], ["/dev/b"], ["/dev/a", "/dev/b", "/dev/c"]]
    requests = {name for each in answer for name in each.requests}
    assert requests == {"left", "right", "*"}


def test_a_claim_of_one_request_has_one_id_for_it(bench: Bench) -> None:
    ref = bench.claim("one", "a", "b")
    answer = bench.engine.prepare(ref, soon())
    assert [each.cdi_ids for each in answer] == [
        (f"example.com/knob={ref.uid}-a",),
        (f"example.com/knob={ref.uid}-b", f"example.com/knob={ref.uid}"),
    ]
    (request,) = answer[0].requests
    for edits in (given(bench, answer, request), given(bench, answer)):
        assert (edits.env["KNOBS"], len(edits.hooks)) == ("a,b", 1)


def test_a_restart_and_a_reboot_change_no_id(bench: Bench) -> None:
    ref = two_requests(bench)
    answer = bench.engine.prepare(ref, soon())
    bench.start()
    again = bench.engine.prepare(ref, soon())
    bench.reboot()
    assert bench.engine.prepare(ref, soon()) == again == answer
    assert given(bench, answer).env["KNOBS"] == "a,b,c"


def test_the_claims_status_has_each_device_once_with_all_its_ids(bench: Bench) -> None:
    ref = two_requests(bench)
    answer = bench.engine.prepare(ref, soon())
    facts = Facts(bench.lifecycle, bench.records, "example.com").of(ref.uid)
    assert facts is not None
    assert [device for _, device, _ in facts] == ["a", "b", "c"]
    told = [name for each in facts.values() for name in each["cdiDevices"]]
    assert sorted(told) == sorted(name for each in answer for name in each.cdi_ids)


def test_without_anything_for_the_claim_there_are_its_devices_alone(bench: Bench) -> None:
    assert isinstance(bench.driver, ListedKnobs)
    bench.driver.once = False
    answer = bench.engine.prepare(two_requests(bench), soon())
    assert [each.requests for each in answer] == [
        ("left",),
        ("right",),
        ("left",),
    ]
