"""NodePrepareResources and NodeUnprepareResources over a real socket."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from dra_common.deadline import Deadline
from dra_common.errors import ClaimMismatch, DeviceHeld, DraError, StateError, Unreachable
from dra_common.kubelet._generated import dra_v1_pb2 as pb
from dra_common.kubelet._generated.dra_v1_pb2_grpc import DRAPluginStub
from dra_common.log import bind
from dra_common.model import ClaimRef, PreparedDevice
from dra_common.telemetry import CLAIM_OPERATIONS, CLAIM_SECONDS
from dra_common.testing.kubelet import (
    ClaimAnswer,
    FakeKubelet,
    Gate,
    KubeletCallError,
    KubeletNode,
    MemoryClaims,
)
from dra_common.testing.ledger import Ledger
from dra_common.testing.waiting import wait_until


def refs(*uids: str) -> list[ClaimRef]:
    return [ClaimRef("default", f"claim-{uid}", uid) for uid in uids]


def serve(node: KubeletNode, kubelet: FakeKubelet, workers: int = 16) -> FakeKubelet:
    node.start_plugin(workers=workers)
    kubelet.wait_registered(node.driver)
    return kubelet


@pytest.fixture
def served(node: KubeletNode, kubelet: FakeKubelet) -> FakeKubelet:
    return serve(node, kubelet)


def failing(errors: dict[str, Exception]) -> Callable[[ClaimRef, Deadline], None]:
    def before(ref: ClaimRef, deadline: Deadline) -> None:
        if ref.uid in errors:
            raise errors[ref.uid]

    return before


def lines(text: str, **fields: str) -> list[dict[str, str]]:
    found: Iterable[dict[str, str]] = map(json.loads, text.splitlines())
    return [line for line in found if fields.items() <= line.items()]


# ---------------------------------------------------------------------- one entry for every UID


@pytest.mark.scenario(36, 50)
@pytest.mark.parametrize("count", [0, 1, 3, 40])
def test_every_uid_is_answered_in_both_calls(served: FakeKubelet, claims: MemoryClaims, count: int) -> None:
    uids = [f"uid-{number}" for number in range(count)]
    answers = served.prepare(refs(*uids))
    assert set(answers) == set(uids) == claims.prepared
    assert len({answer.devices for answer in answers.values()}) == count
    assert served.unprepare(refs(*uids)) == dict.fromkeys(uids, "")
    assert claims.prepared == set()


@pytest.mark.scenario(17)
def test_the_same_claim_gets_the_same_answer_again(served: FakeKubelet) -> None:
    first = served.prepare(refs("a", "b"))
    assert served.prepare(refs("b", "a")) == first


def test_a_claim_named_twice_in_one_call_is_handled_once(served: FakeKubelet, claims: MemoryClaims) -> None:
    assert set(served.prepare(refs("a", "a", "b", "a"))) == {"a", "b"}
    assert claims.calls == {("prepare", "a"): 1, ("prepare", "b"): 1}
    assert served.unprepare(refs("a", "a")) == {"a": ""}
    assert claims.calls["unprepare", "a"] == 1


@pytest.mark.scenario(42)
def test_a_claim_that_was_never_prepared_is_unprepared_with_success(served: FakeKubelet) -> None:
    assert served.unprepare(refs("unknown")) == {"unknown": ""}


@pytest.mark.parametrize(
    "ref",
    [
        ClaimRef("", "name", "uid"),
        ClaimRef("ns", "", "uid"),
        ClaimRef("ns", "name", ""),
        ClaimRef("n", "m", "../x"),
    ],
)
def test_a_claim_without_proper_names_is_refused_and_never_reaches_the_driver(
    served: FakeKubelet, claims: MemoryClaims, ref: ClaimRef
) -> None:
    answers = served.prepare([ref, *refs("good")])
    assert "without proper namespace, name and UID" in answers[ref.uid].error
    assert not answers["good"].error
    assert set(claims.calls) == {("prepare", "good")}


class Fixed:
    """Answers every claim with the same devices."""

    def __init__(self, *devices: PreparedDevice) -> None:
        self.devices = devices

    def prepare(self, ref: ClaimRef, deadline: Deadline) -> tuple[PreparedDevice, ...]:
        return self.devices

    def unprepare(self, ref: ClaimRef, deadline: Deadline) -> None:
        return None


@pytest.mark.scenario(32, 35)
@pytest.mark.parametrize(
    "devices",
    [
        (),
        (PreparedDevice(("gpu",), "node-1", "dev-0", ("intel.com/gpu=a",)),),
        (PreparedDevice((), "node-1", "dev-0"),),
        (
            PreparedDevice(("a", "b"), "node-1", "dev-0", ("intel.com/gpu=x", "intel.com/mei=y"), "6c0e"),
            PreparedDevice(("a",), "node-1", "dev-0", (), "77aa"),
        ),
    ],
)
def test_devices_arrive_as_they_were_given(
    node: KubeletNode, kubelet: FakeKubelet, devices: tuple[PreparedDevice, ...]
) -> None:
    node.claims = Fixed(*devices)
    assert serve(node, kubelet).prepare(refs("a")) == {"a": ClaimAnswer(devices)}


# ---------------------------------------------------------------------- errors


@pytest.mark.scenario(30)
def test_a_bad_claim_fails_alone(served: FakeKubelet, claims: MemoryClaims) -> None:
    claims.before = failing(
        {"bad": DeviceHeld("device card0 is held by claim ns/other", cure="delete that claim")}
    )
    answers = served.prepare(refs("good", "bad", "fine"))
    assert answers["bad"] == ClaimAnswer(error="device card0 is held by claim ns/other (delete that claim)")
    assert not answers["good"].error
    assert not answers["fine"].error
    assert claims.prepared == {"good", "fine"}


@pytest.mark.parametrize(
    "error",
    [
        ClaimMismatch("claim ns/c was replaced"),
        Unreachable("no answer from the API server", cure="the kubelet tries again"),
        StateError("cannot write claims/x.json: No space left on device"),
        DraError(""),
    ],
)
def test_errors_arrive_as_their_text_and_are_never_empty(
    served: FakeKubelet, claims: MemoryClaims, error: DraError
) -> None:
    claims.before = failing({"bad": error})
    expected = str(error) or "DraError"
    assert served.prepare(refs("bad"))["bad"].error == expected
    assert served.unprepare(refs("bad", "good")) == {"bad": expected, "good": ""}


@pytest.mark.scenario(21)
def test_a_claim_that_failed_succeeds_when_the_cause_is_gone(
    served: FakeKubelet, claims: MemoryClaims
) -> None:
    claims.before = failing({"a": Unreachable("no answer")})
    assert served.prepare(refs("a"))["a"].error
    claims.before = failing({})
    assert not served.prepare(refs("a"))["a"].error


def test_an_error_nobody_foresaw_fails_one_claim_and_is_logged_once_with_its_traceback(
    served: FakeKubelet, claims: MemoryClaims, log_text: Callable[[], str]
) -> None:
    claims.before = failing({"bad": ZeroDivisionError("secret detail")})
    answers = served.prepare(refs("bad", "good"))
    assert not answers["good"].error
    assert answers["bad"].error.startswith(
        "internal error (ZeroDivisionError) on claim default/claim-bad (uid bad)"
    )
    assert "secret detail" not in answers["bad"].error
    (line,) = lines(log_text(), level="error")
    assert line["claim"] == "default/claim-bad"
    assert line["uid"] == "bad"
    assert f"the driver's log of request {line['request']}" in answers["bad"].error
    assert "ZeroDivisionError: secret detail" in line["traceback"]


def test_a_device_that_cannot_be_encoded_fails_its_claim_not_the_call(
    node: KubeletNode, kubelet: FakeKubelet
) -> None:
    node.claims = Fixed(PreparedDevice(("gpu",), "node-1", "not utf-8 \udcff"))
    assert "internal error" in serve(node, kubelet).prepare(refs("a"))["a"].error


# ---------------------------------------------------------------------- the log


def test_every_line_of_a_call_names_request_and_claim_even_from_the_drivers_own_code(
    served: FakeKubelet, claims: MemoryClaims, log_text: Callable[[], str]
) -> None:
    def before(ref: ClaimRef, deadline: Deadline) -> None:
        with bind(device="card0"):
            logging.getLogger("dra_common.engine").info("working")

    claims.before = before
    served.prepare(refs("a", "b"))
    served.unprepare(refs("a"))
    working = lines(log_text(), msg="working", device="card0")
    assert sorted((line["method"], line["claim"], line["uid"]) for line in working) == [
        ("NodePrepareResources", "default/claim-a", "a"),
        ("NodePrepareResources", "default/claim-b", "b"),
        ("NodeUnprepareResources", "default/claim-a", "a"),
    ]
    first, second, third = (int(line["request"]) for line in working)
    assert first == second < third
    outcomes = [line["msg"] for line in lines(log_text(), uid="a") if line["msg"] != "working"]
    assert outcomes[0] in {"prepared: dev-0", "prepared: dev-1"}
    assert outcomes[1:] == ["unprepared"]


# ---------------------------------------------------------------------- at the same time


def test_the_claims_of_two_calls_are_worked_on_at_once(served: FakeKubelet, claims: MemoryClaims) -> None:
    claims.before = gate = Gate()
    with ThreadPoolExecutor(2) as pods:
        calls = [pods.submit(served.prepare, refs(*(f"{pod}-{n}" for n in range(6)))) for pod in "ab"]
        gate.wait_for(12)
        gate.open()
        answers = [call.result(60) for call in calls]
    assert [len(answer) for answer in answers] == [6, 6]
    assert not any(answer.error for each in answers for answer in each.values())


def test_no_more_claims_are_worked_on_than_there_are_workers(
    node: KubeletNode, kubelet: FakeKubelet, claims: MemoryClaims
) -> None:
    now, most, lock, release = 0, 0, threading.Lock(), threading.Barrier(3)

    def before(ref: ClaimRef, deadline: Deadline) -> None:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        release.wait(60)
        with lock:
            now -= 1

    claims.before = before
    answers = serve(node, kubelet, workers=3).prepare(refs(*(f"uid-{n}" for n in range(9))))
    assert not any(answer.error for answer in answers.values())
    assert most == 3


def test_two_prepares_of_one_claim_at_once_are_both_answered_alike(
    served: FakeKubelet, claims: MemoryClaims
) -> None:
    claims.before = gate = Gate()
    with ThreadPoolExecutor(2) as pods:
        calls = [pods.submit(served.prepare, refs("a")) for _ in range(2)]
        gate.wait_for(2)
        gate.open()
        first, second = (call.result(60) for call in calls)
    assert first == second
    assert len(first["a"].devices) == 1


def test_unprepare_gets_through_while_prepares_wait(served: FakeKubelet, claims: MemoryClaims) -> None:
    served.prepare(refs("old"))
    gate = Gate()
    claims.before = lambda ref, deadline: gate(ref, deadline) if ref.uid == "slow" else None
    with ThreadPoolExecutor(1) as pods:
        call = pods.submit(served.prepare, refs("slow"))
        gate.wait_for(1)
        assert served.unprepare(refs("old")) == {"old": ""}
        gate.open()
        assert not call.result(60)["slow"].error


# ---------------------------------------------------------------------- deadlines


@pytest.mark.scenario(20)
def test_a_slow_claim_is_answered_with_its_reason_before_the_kubelet_gives_up(
    node: KubeletNode, claims: MemoryClaims, impatient: float
) -> None:
    kubelet = serve(node, node.start_kubelet(call_timeout=impatient))
    gate = Gate()
    claims.before = lambda ref, deadline: gate(ref, deadline) if ref.uid == "slow" else None
    answers = kubelet.prepare(refs("slow", "quick"))
    assert "claim default/claim-slow (uid slow): not finished in time" in answers["slow"].error
    assert not answers["quick"].error
    gate.open()


@pytest.mark.scenario(20)
def test_a_later_try_of_a_slow_claim_succeeds_and_allocates_nothing_twice(
    node: KubeletNode, claims: MemoryClaims, impatient: float
) -> None:
    kubelet = serve(node, node.start_kubelet(call_timeout=impatient))
    claims.before = gate = Gate()
    assert kubelet.prepare(refs("slow"))["slow"].error
    gate.open()
    again = kubelet.prepare(refs("slow"))["slow"]
    assert [device.device for device in again.devices] == ["dev-0"]
    assert kubelet.prepare(refs("other"))["other"].devices[0].device == "dev-1"


def test_claims_that_found_no_worker_say_so_and_are_not_begun_later(
    node: KubeletNode, claims: MemoryClaims, impatient: float
) -> None:
    kubelet = serve(node, node.start_kubelet(call_timeout=impatient), workers=1)
    claims.before = gate = Gate()
    answers = kubelet.prepare(refs("first", "second"))
    assert "not finished in time" in answers["first"].error
    assert "all 1 workers were busy" in answers["second"].error
    gate.open()
    assert not kubelet.prepare(refs("first"))["first"].error
    assert ("prepare", "second") not in claims.calls


def seen_deadline(node: KubeletNode, claims: MemoryClaims, timeout: float | None) -> float:
    """Return how many seconds the driver is given when a client waits for ``timeout``."""
    seen: list[float] = []
    claims.before = lambda _ref, deadline: seen.append(deadline.remaining)
    with grpc.insecure_channel(f"unix:{node.dra_socket}") as channel:
        stub = DRAPluginStub(channel)  # type: ignore[no-untyped-call]
        request = pb.NodePrepareResourcesRequest(claims=[pb.Claim(namespace="ns", name="n", uid="u")])
        stub.NodePrepareResources(request, timeout=timeout)
    return seen[0]


@pytest.mark.parametrize(
    ("timeout", "least", "most"), [(None, 30, 44), (300, 30, 44), (45, 30, 44), (20, 5, 19.5)]
)
def test_the_driver_is_given_the_kubelets_45_seconds_or_the_clients_less_a_margin(
    node: KubeletNode, claims: MemoryClaims, timeout: float | None, least: float, most: float
) -> None:
    """On the wire gRPC rounds a timeout up, by less than the margin."""
    node.start_plugin()
    assert least < seen_deadline(node, claims, timeout) <= most


def test_claims_of_a_kubelet_that_went_away_are_not_begun(
    node: KubeletNode, claims: MemoryClaims, caplog: pytest.LogCaptureFixture
) -> None:
    kubelet = serve(node, node.start_kubelet(), workers=1)
    claims.before = gate = Gate()
    with ThreadPoolExecutor(1) as pods:
        call = pods.submit(kubelet.prepare, refs("first", "second"))
        gate.wait_for(1)
        kubelet.stop()
        with pytest.raises(KubeletCallError):
            call.result(60)
        # The plugin hears of it a little later.
        wait_until(
            lambda: any("not begun" in line.getMessage() for line in caplog.records), "the second's end"
        )
    gate.open()
    kubelet.start()
    kubelet.wait_registered(node.driver)
    assert not kubelet.prepare(refs("third"))["third"].error
    assert ("prepare", "second") not in claims.calls


@pytest.mark.scenario(1, 22)
def test_a_kubelet_that_restarts_during_a_prepare_gets_the_same_answer(
    node: KubeletNode, claims: MemoryClaims
) -> None:
    kubelet = serve(node, node.start_kubelet())
    claims.before = gate = Gate()
    with ThreadPoolExecutor(2) as pods:
        interrupted = pods.submit(kubelet.prepare, refs("a"))
        gate.wait_for(1)
        kubelet.restart()
        kubelet.wait_registered(node.driver)
        again = pods.submit(kubelet.prepare, refs("a"))
        gate.wait_for(1)
        gate.open()
        with pytest.raises(KubeletCallError) as gone:
            interrupted.result(60)
        assert gone.value.code in {"CANCELLED", "UNAVAILABLE"}
        assert [device.device for device in again.result(60)["a"].devices] == ["dev-0"]


# ---------------------------------------------------------------------- what is counted


def counted(ledger: Ledger) -> dict[str, int]:
    """What was counted but for zeros: (operation,result) -> number."""
    return {
        key.removeprefix(CLAIM_OPERATIONS.name): number for key, number in ledger.counts.items() if number
    }


def test_results_are_counted_by_kind_and_timed(
    node: KubeletNode, kubelet: FakeKubelet, claims: MemoryClaims
) -> None:
    node.counts = ledger = Ledger()
    claims.before = failing({"b": DeviceHeld("taken"), "c": ZeroDivisionError("oops")})
    serve(node, kubelet)
    # Both operations are shown as 0 before anything happened.
    assert set(ledger.counts) == {
        f"{CLAIM_OPERATIONS.name}{{{each},success}}" for each in ("prepare", "unprepare")
    }
    kubelet.prepare(refs("a", "b", "c", "d"))
    kubelet.unprepare(refs("a", "b"))
    assert counted(ledger) == {
        "{prepare,success}": 2,
        "{prepare,DeviceHeld}": 1,
        "{prepare,InternalError}": 1,
        "{unprepare,success}": 1,
        "{unprepare,DeviceHeld}": 1,
    }
    assert sorted(key.removeprefix(CLAIM_SECONDS.name) for key, _ in ledger.values) == [
        "{prepare,error}",
        "{prepare,error}",
        "{prepare,success}",
        "{prepare,success}",
        "{unprepare,error}",
        "{unprepare,success}",
    ]
    assert all(0 < seconds < 60 for _, seconds in ledger.values)


def test_a_claim_that_overruns_is_counted_as_the_kubelet_saw_it_and_stays_in_flight(
    node: KubeletNode, claims: MemoryClaims, impatient: float
) -> None:
    node.counts = ledger = Ledger()
    claims.before = gate = Gate()
    kubelet = node.start_kubelet(call_timeout=impatient)
    plugin = node.start_plugin()
    kubelet.wait_registered(node.driver)
    assert plugin.in_flight() == {("prepare",): 0, ("unprepare",): 0}
    answers = kubelet.prepare(refs("a"))
    assert "not finished in time" in answers["a"].error
    assert counted(ledger) == {"{prepare,NotInTime}": 1}
    assert plugin.in_flight() == {("prepare",): 1, ("unprepare",): 0}
    gate.open()
    wait_until(lambda: not plugin.in_flight()["prepare",], "the claim to end", seconds=60)
    assert counted(ledger) == {"{prepare,NotInTime}": 1}
