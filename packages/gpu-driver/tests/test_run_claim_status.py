"""What a ResourceClaim says of its GPUs, with the real driver."""

from __future__ import annotations

from driver_nodes import assert_no_surprise, names, refusal, told
from gpu_nodes import NAME, NODE, allocated, running


def test_a_claim_says_what_it_has_and_another_why_it_has_nothing() -> None:
    with running("two-gpus", "--claim-status") as node:
        first, second = names(node)
        ref, thief = allocated(node, "train", first, second), allocated(node, "thief", first)
        node.prepare(ref)
        devices = node.wait(lambda: told(node, ref), "the status")
        assert [(each["driver"], each["pool"], each["device"]) for each in devices] == [
            (NAME, NODE, first),
            (NAME, NODE, second),
        ]
        assert devices[0]["data"] == {
            "cdiDevices": [f"intel.com/gpu={ref.uid}-{first}"],
            "deviceNodes": ["/dev/dri/card1", "/dev/dri/renderD128"],
        }
        (condition,) = devices[0]["conditions"]
        assert (condition["type"], condition["status"]) == ("Ready", "True")
        assert condition["message"] == f"prepared on node {NODE}"
        assert "held by claim" in refusal(node, thief)
        ((refused,),) = node.wait(
            lambda: [each["conditions"] for each in told(node, thief)], "why the other has nothing"
        )
        assert (refused["status"], refused["reason"]) == ("False", "DeviceHeld")
        assert f"held by claim {ref}" in refused["message"]
        node.unprepare(ref)
        node.prepare(thief)
        node.wait(lambda: told(node, thief)[0]["conditions"][0]["status"] == "True", "the good news")
        node.unprepare(thief)
        assert node.leftovers() == []
        assert_no_surprise(node, ("held by claim",))


def test_without_the_right_to_write_it_claims_are_prepared_all_the_same() -> None:
    with running("two-gpus", "--claim-status") as node:
        node.api.faults.add(status=403, method="PUT", path="/status")
        ref = allocated(node, "train", names(node)[0])
        assert node.prepare(ref)
        node.wait(lambda: "until the next start" in node.log_tail(), "the line")
        node.unprepare(ref)
        assert told(node, ref) == []


def test_nothing_is_written_into_claims_unless_it_is_asked_for() -> None:
    with running("two-gpus") as node:
        node.api.forget_requests()
        ref = allocated(node, "train", names(node)[0])
        node.prepare(ref)
        node.unprepare(ref)
        assert [request.path for request in node.api.writes if "resourceclaims" in request.path] == []
