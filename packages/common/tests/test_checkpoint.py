"""What is taken from the checkpoints of the three Go drivers, and what is not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from dra_common.checkpoint import Checkpoint, CheckpointClaim, Format, decode_checkpoint
from dra_common.errors import CheckpointError
from dra_common.model import PreparedDevice

GOLDEN = Path(__file__).parent / "golden/checkpoint"
KINDS = {
    "gpu": ("intel.com/gpu", "intel.com/gpu-mei"),
    "gaudi": ("intel.com/gaudi",),
    "qat": ("intel.com/qat",),
}
GPU, MONITOR = "2b0c5bb1-5a0c-4f6e-9b58-0d7c1f6a1001", "2b0c5bb1-5a0c-4f6e-9b58-0d7c1f6a1002"
GAUDI = "5c9e4b52-77aa-4d0e-8a8e-3f1a2b3c2001"
QAT_SYM, QAT_DC = "91f7c2d8-1c2d-4e3f-9a4b-5c6d7e8f3001", "91f7c2d8-1c2d-4e3f-9a4b-5c6d7e8f3002"


def golden(name: str) -> Checkpoint:
    driver = name.partition("-")[0]
    return decode_checkpoint((GOLDEN / name).read_bytes(), f"{driver}.intel.com", KINDS[driver])


def device(request: str, name: str, *ids: str) -> PreparedDevice:
    return PreparedDevice((request,), "node-1", name, ids)


def summary(checkpoint: Checkpoint) -> dict[str, list[tuple[PreparedDevice, bool]]]:
    assert [claim.problem for claim in checkpoint.claims] == [""] * len(checkpoint.claims)
    return {claim.uid: [(each.answer, each.admin) for each in claim.devices] for claim in checkpoint.claims}


def test_the_gpu_drivers_own_format() -> None:
    checkpoint = golden("gpu-versioned.json")
    assert checkpoint.format is Format.VERSIONED
    card = "intel.com/gpu=0000-03-00-0-0x56c0"
    assert summary(checkpoint) == {
        GPU: [(device("gpu", "0000-03-00-0-0x56c0", card), False)],
        MONITOR: [
            (device("monitor", "0000-03-00-0-0x56c0", card, "intel.com/gpu-mei=mei0"), True),
            (device("monitor", "0000-04-00-0-0xe20b", "intel.com/gpu=0000-04-00-0-0xe20b"), True),
        ],
    }


def test_the_map_of_the_gpu_drivers_older_releases() -> None:
    checkpoint = golden("gpu-map.json")
    assert checkpoint.format is Format.MAP
    card = "intel.com/gpu=0000-03-00-0-0x56c0"
    assert summary(checkpoint) == {
        GPU: [(device("gpu", "0000-03-00-0-0x56c0", card), False)],
        MONITOR: [(device("monitor", "0000-03-00-0-0x56c0", card, "intel.com/gpu-mei=mei0"), False)],
    }


@pytest.mark.parametrize("name", ["gaudi-map.json", "gaudi-versioned.json"])
def test_gaudi_keeps_the_order_of_its_devices_and_the_id_of_the_claim(name: str) -> None:
    first, second = "intel.com/gaudi=0000-a0-00-0-0x1020", "intel.com/gaudi=0000-b0-00-0-0x1020"
    assert summary(golden(name)) == {
        GAUDI: [
            (device("gaudi", "0000-a0-00-0-0x1020", first, f"intel.com/gaudi={GAUDI}"), False),
            (device("gaudi", "0000-b0-00-0-0x1020", second), False),
        ]
    }


@pytest.mark.parametrize("name", ["qat-map.json", "qat-versioned.json"])
def test_qat_keeps_the_id_that_its_claims_share(name: str) -> None:
    both, control = [("sym", 1), ("dc", 2)], "intel.com/qat=qatvf-vfio"
    expected = [
        (device(request, f"qatvf-0000-6b-00-{n}", f"intel.com/qat=qatvf-0000-6b-00-{n}", control), False)
        for request, n in both
    ]
    assert summary(golden(name)) == {QAT_SYM: [expected[0]], QAT_DC: [expected[1]]}


def test_every_golden_file_is_read_here() -> None:
    assert len(list(GOLDEN.iterdir())) == 6
    for path in GOLDEN.iterdir():
        assert path.name in Path(__file__).read_text()


# --------------------------------------------------------------------------- made here

DEVICE: dict[str, Any] = {
    "Requests": ["r"],
    "PoolName": "node-1",
    "DeviceName": "a",
    "CDIDeviceIDs": ["example.com/knob=a"],
    "ShareID": None,
}


def decode(content: object) -> Checkpoint:
    data = content if isinstance(content, bytes) else json.dumps(content).encode()
    return decode_checkpoint(data, "knob.example.com", ("example.com/knob",))


def versioned(**claims: object) -> dict[str, object]:
    return {
        "kind": "PreparedClaimsCheckpoint",
        "apiVersion": "checkpoint.knob.example.com/v1",
        "PreparedClaims": claims,
    }


def claim(**changes: object) -> dict[str, object]:
    return {"Err": None, "Devices": [{**DEVICE, **changes}]}


def only(content: object) -> CheckpointClaim:
    (found,) = decode(content).claims
    return found


def test_an_empty_map_is_what_a_driver_without_claims_leaves() -> None:
    assert decode({}) == Checkpoint(Format.MAP)
    assert decode(versioned()) == Checkpoint(Format.VERSIONED)
    assert decode({**versioned(), "PreparedClaims": None}) == Checkpoint(Format.VERSIONED)


def test_what_is_not_known_is_not_looked_at() -> None:
    entry = claim(Metadata={"deep": [1, {"er": None}]}, Added=7)
    assert only({"u-1": {**entry, "Added": []}}).devices[0].answer.device == "a"
    prepared = {"PreparedDevices": [{"Added": 1, "KubeletpluginDevice": DEVICE}], "Added": 2}
    found = only({**versioned(**{"u-1": prepared}), "Added": 3})
    assert (found.problem, found.devices[0].admin) == ("", False)


def test_lists_that_were_never_made_are_null() -> None:
    found = only({"u-1": claim(Requests=None, CDIDeviceIDs=None)})
    assert found.devices[0].answer == PreparedDevice((), "node-1", "a")
    assert only({"u-1": {"Err": None, "Devices": None}}) == CheckpointClaim("u-1")


def test_requests_are_named_as_the_kubelet_compares_them() -> None:
    assert only({"u-1": claim(Requests=["r/first"])}).devices[0].answer.requests == ("r",)


def test_a_share_id_is_kept() -> None:
    assert only({"u-1": claim(ShareID="0f-1")}).devices[0].answer.share_id == "0f-1"


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        (None, "the claim is missing"),
        ([DEVICE], "the claim is [{"),
        ({"Err": {}, "Devices": None}, "its preparation had failed: {}"),
        ({"Devices": {}}, "Devices is {}"),
        ({"Devices": ["a"]}, "a device is 'a'"),
        (claim(DeviceName=None), "DeviceName is missing"),
        (claim(DeviceName="../../etc/passwd"), "DeviceName is '../../etc/passwd'"),
        (claim(DeviceName="a@b"), "DeviceName is 'a@b'"),
        (claim(DeviceName="a\n"), r"DeviceName is 'a\n'"),
        (claim(DeviceName=7), "DeviceName is 7"),
        (claim(PoolName=""), "PoolName is ''"),
        (claim(Requests="r"), "Requests is 'r'"),
        (claim(Requests=["\ud800"]), r"Requests is '\ud800'"),
        (claim(CDIDeviceIDs=["a"]), "CDIDeviceIDs is 'a'"),
        (claim(CDIDeviceIDs=["example.com/knob=a/../b"]), "CDIDeviceIDs is 'example.com/knob=a/../b'"),
        (
            claim(CDIDeviceIDs=["nvidia.com/gpu=all"]),
            "CDI id nvidia.com/gpu=all is not of this driver's kinds",
        ),
        (claim(ShareID="A/B"), "ShareID is 'A/B'"),
        ({"Devices": [DEVICE] * 33}, "it has more than 32 devices"),
        (claim(DeviceName="x" * 1_000_000), "DeviceName is 'xxxxx"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_claim_that_cannot_be_relied_on_spoils_no_other(entry: object, problem: str) -> None:
    bad, good = decode({"u-1": entry, "u-2": claim()}).claims
    assert problem in bad.problem
    assert len(bad.problem) < 200
    assert bad.devices == ()
    assert (good.uid, good.problem, len(good.devices)) == ("u-2", "", 1)


@pytest.mark.parametrize(
    ("prepared", "problem"),
    [
        ([], "the claim is []"),
        (
            {"PreparedDevices": [{"AdminAccess": "yes", "KubeletpluginDevice": DEVICE}]},
            "AdminAccess is 'yes'",
        ),
        ({"PreparedDevices": [{"AdminAccess": False}]}, "KubeletpluginDevice is missing"),
        ({"PreparedDevices": 1}, "PreparedDevices is 1"),
    ],
)
def test_the_same_in_the_versioned_format(prepared: object, problem: str) -> None:
    good = {"PreparedDevices": [{"AdminAccess": True, "KubeletpluginDevice": DEVICE}]}
    bad, other = decode(versioned(**{"u-1": prepared, "u-2": good})).claims
    assert problem in bad.problem
    assert other.devices[0].admin is True


@pytest.mark.parametrize("uid", ["../up", "", "a b", "x" * 129, "\u00e9"])
def test_what_is_no_uid_never_becomes_a_file_name(uid: str) -> None:
    assert "is not a claim's UID" in only({uid: claim()}).problem


def test_a_claim_that_is_there_twice_is_nobodys_to_choose() -> None:
    entry = json.dumps(claim())
    found = only(f'{{"u-1": {entry}, "u-1": {entry}}}'.encode())
    assert found.problem == "the claim is there twice"
    once = '{"Err": null, "Devices": [{"DeviceName": "a", "DeviceName": "b", "PoolName": "node-1"}]}'
    assert only(f'{{"u-1": {once}}}'.encode()).problem == "DeviceName is there twice"


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b'{"u-1": 1' + b"0" * 5000 + b"}", "not JSON"),
        (b"[" * 200_000, "not JSON"),
        (b"[]", "no JSON object"),
        (b"null", "no JSON object"),
        (json.dumps({"PreparedClaims": {}}).encode(), "does not say its version"),
        (
            json.dumps({**versioned(), "apiVersion": "checkpoint.knob.example.com/v2"}).encode(),
            "v2' is not known",
        ),
        (json.dumps({**versioned(), "kind": "Other"}).encode(), "kind 'Other'"),
        (json.dumps({**versioned(), "kind": None}).encode(), "kind missing"),
        (json.dumps({**versioned(), "PreparedClaims": []}).encode(), "PreparedClaims is no object"),
        (b'{"kind": "x", "kind": "y"}', "kind there twice"),
    ],
)
def test_a_file_of_which_nothing_can_be_relied_on(data: bytes, why: str) -> None:
    with pytest.raises(CheckpointError) as caught:
        decode(data)
    assert why in str(caught.value)
    assert len(str(caught.value)) < 300


def test_every_cut_of_a_file_is_noticed() -> None:
    """The Go drivers write in place: what a crash leaves is a beginning."""
    for name in ("gpu-versioned.json", "qat-map.json"):
        data = (GOLDEN / name).read_bytes().rstrip()
        for length in range(len(data)):
            with pytest.raises(CheckpointError):
                decode_checkpoint(data[:length], "gpu.intel.com", KINDS["gpu"])
