"""Whatever claims stand in another driver's checkpoint: no device goes to two of them, and each can be written down."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from dra_common.adoption import Around, Verdict, look, to_record
from dra_common.checkpoint import decode_checkpoint
from dra_common.codec import decode, encode
from dra_common.errors import CheckpointError
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy
from properties.base import Property, json_like

KINDS = ("intel.com/gpu", "intel.com/gpu-mei")
DEVICES = ("0000-03-00-0-0x56c0", "qatvf-0000-6b-00-1", "a")
AROUND = Around(("uid-3",), {("a", None): "uid-3"}, DEVICES, "node-1")


def check(content: Any) -> None:
    try:
        checkpoint = decode_checkpoint(json.dumps(content).encode(), "gpu.intel.com", KINDS)
    except CheckpointError:
        return
    findings = list(look(checkpoint, AROUND))
    assert [finding.claim for finding in findings] == list(checkpoint.claims)
    assert all(bool(finding.why) == (finding.verdict is not Verdict.ADOPT) for finding in findings)
    adopted = [finding.claim for finding in findings if finding.verdict is Verdict.ADOPT]
    given = [each for claim in adopted for each in claim.devices]
    keys = Counter((each.answer.device, each.answer.share_id) for each in given if not each.admin)
    assert all(count == 1 and key not in AROUND.holders for key, count in keys.items())
    assert {each.answer.device for each in given} <= set(DEVICES)
    for claim in adopted:
        record = to_record(claim, "boot")
        assert decode(encode(record), name="record") == record


def _device(name: str, ids: list[str], share: str | None) -> dict[str, Any]:
    return {
        "Requests": ["r"],
        "PoolName": "node-1",
        "DeviceName": name,
        "CDIDeviceIDs": ids,
        "ShareID": share,
    }


def _claim(devices: list[Any], versioned: bool, admin: bool) -> dict[str, Any]:  # noqa: FBT001 - drawn
    if versioned:
        return {"PreparedDevices": [{"AdminAccess": admin, "KubeletpluginDevice": each} for each in devices]}
    return {"Err": None, "Devices": devices}


def _file(claims: dict[str, Any], versioned: bool) -> dict[str, Any]:  # noqa: FBT001 - drawn
    head = {"kind": "PreparedClaimsCheckpoint", "apiVersion": "checkpoint.gpu.intel.com/v1"}
    return {**head, "PreparedClaims": claims} if versioned else claims


def _files(versioned: bool) -> SearchStrategy[dict[str, Any]]:  # noqa: FBT001 - one of two formats
    """Files of few claims that want few devices; some claims are something else."""
    ids = st.lists(st.sampled_from(KINDS).map(lambda kind: f"{kind}=a"), max_size=2)
    device = st.builds(
        _device, st.sampled_from((*DEVICES, "gone")), ids, st.sampled_from((None, None, "0f-1"))
    )
    claim = st.builds(_claim, st.lists(device, max_size=3), st.just(versioned), st.booleans())
    strange = json_like(("Devices", "PreparedDevices", "Err"))
    uids = st.sampled_from(("uid-1", "uid-2", "uid-3", "uid-4", "a_b"))
    return st.builds(
        _file, st.dictionaries(uids, st.one_of(claim, claim, strange), max_size=4), st.just(versioned)
    )


PROPERTY: Property[Any] = Property("adoption", _files(versioned=False) | _files(versioned=True), check)
