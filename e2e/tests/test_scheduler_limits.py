"""What drivers and their users have to know of the real scheduler, and that our allocator knows it too."""

import pytest
from allocation.case import Traits, traits_of
from allocation.machine import OneMachine
from allocation.stage import Stage
from dra_common.testing.objects import Object, device
from harness.namespace import Namespace
from harness.waiting import wait_for

TAINT = {"key": "test.example.com/broken", "effect": "NoExecute"}

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def traits(minor: str) -> Traits:
    return traits_of(minor)


def shared(name: str, units: int = 0, **capacity: str) -> Object:
    consumed = [{"counterSet": "card", "counters": {"units": {"value": str(units)}}}]
    fields: Object = {"consumesCounters": consumed} if units else {}
    return device(name, {"model": "x"}, capacity, allowMultipleAllocations=True, **fields)


def sharing(machine: OneMachine) -> bool:
    """Whether this Kubernetes has consumable capacity and counters: not by default before 1.36."""
    return all("allowMultipleAllocations" in each for each in machine.devices)


def test_a_counter_is_charged_for_the_first_share_of_a_device_only(
    namespace: Namespace, traits: Traits
) -> None:
    """So a counter cannot count shares: that is what capacity is for."""
    with Stage(namespace) as stage:
        machine = OneMachine(stage, traits, shared("a", units=1), shared("b", units=1), units=1)
        given = [machine.answer(f"claim-{number}", count=1) for number in range(3)]
        if not sharing(machine):
            assert [answer.allocation is not None for answer in given] == [True, True, False]
            return
        chosen = [
            each["device"] for answer in given for each in (answer.allocation or {})["devices"]["results"]
        ]
        # The second device stays out: the first one has the unit, however many share it.
        assert chosen == ["a", "a", "a"]
        assert not machine.gives("both", count=2)


def test_an_administrator_is_refused_a_device_whose_capacity_is_used_up(
    namespace: Namespace, traits: Traits
) -> None:
    """Elsewhere adminAccess looks past what others have; a monitor should ask with a request policy's minimum."""
    with Stage(namespace) as stage:
        machine = OneMachine(stage, traits, shared("a", memory="8Gi"))
        assert machine.gives("monitor", adminAccess=True)
        assert machine.gives("user", {"memory": "8Gi"})
        assert machine.gives("later", adminAccess=True) is not sharing(machine)
        assert machine.gives("nothing", {"memory": "0"}, adminAccess=True)


def test_a_counter_lowered_below_what_is_in_use_closes_its_pool(namespace: Namespace, traits: Traits) -> None:
    """Also for devices that consume another amount or none of it that would still be there."""
    with Stage(namespace) as stage:
        machine = OneMachine(stage, traits, shared("a", units=2), shared("b", units=1), device("c"), units=3)
        if not sharing(machine):
            return
        assert machine.gives("first-share")
        machine.lower(1)
        chosen = (machine.answer("second").allocation or {})["devices"]["results"]
        assert [each["device"] for each in chosen] == ["a"]
        assert machine.gives("c-too", count=2)
        assert not machine.gives("b-too", count=3)


def test_a_toleration_without_effect_schedules_a_pod_that_is_evicted_at_once(
    namespace: Namespace, traits: Traits
) -> None:
    """The scheduler takes no effect for all effects, the eviction controller for none (Kubernetes 1.37)."""
    with Stage(namespace) as stage:
        machine = OneMachine(stage, traits, *(device(name, taints=[TAINT]) for name in "abc"))
        assert machine.gives("stays", tolerations=[{"operator": "Exists", "effect": "NoExecute"}])
        tainted = all("taints" in each for each in machine.devices)
        assert machine.gives("intolerant") is not tainted
        if tainted:
            machine.bring("goes", tolerations=[{"operator": "Exists"}])
            wait_for(lambda: not there(namespace, "goes"), "the pod to be evicted", 60)
            reasons = {event["reason"] for event in namespace.events("goes")}
            assert {"Scheduled", "DeviceTaintManagerEviction"} <= reasons
        assert there(namespace, "stays")


def there(namespace: Namespace, pod: str) -> bool:
    return namespace.cluster.api.find(namespace.path("pods", pod)) is not None
