"""Whatever stands in a ResourceClaim: read or refused with a reason; nothing in it becomes a path or a privilege."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from dra_common.allocation import read_allocation
from dra_common.config import configure
from dra_common.driver import Wanted
from dra_common.errors import ClaimError
from dra_common.model import Claim, ClaimRef
from dra_common.testing.bench import NODE
from dra_common.testing.knobs import DRIVER, KnobDriver
from hypothesis import strategies as st
from properties.base import Property, damaged, json_like, parsed

REF = ClaimRef("default", "claim", "uid-1")
KINDS = KnobDriver.config_kinds
RESULT = {
    "request": "r/s",
    "driver": DRIVER,
    "pool": NODE,
    "device": "a",
    "shareID": "0a",
    "adminAccess": True,
}
PARAMETERS = {"apiVersion": "knob.example.com/v1", "kind": "KnobConfig", "level": 5, "label": "x"}


def config(source: Any, parameters: Any, requests: Any = ()) -> dict[str, Any]:
    return {
        "source": source,
        "requests": requests,
        "opaque": {"driver": DRIVER, "parameters": parameters},
    }


def whole(results: Any, configs: Any) -> dict[str, Any]:
    return {
        "metadata": {"uid": REF.uid},
        "status": {"allocation": {"devices": {"results": results, "config": configs}}},
    }


SEED = whole(
    [RESULT], [config("FromClass", {**PARAMETERS, "unsafe": True}), config("FromClaim", PARAMETERS, ["r"])]
)
SEEDS = (json.dumps(SEED).encode(),)


def check_bytes(data: bytes) -> None:
    raw = parsed(data)
    if isinstance(raw, Mapping):
        check(raw)


def check(raw: Mapping[str, Any]) -> None:
    try:
        claim = read_allocation(raw, REF, driver=DRIVER, pool=NODE)
        wanted = configure(claim, KINDS)
    except ClaimError as error:
        assert str(REF) in error.message
        return
    for one in wanted:
        assert one.allocated.pool == NODE
        assert not set(f"{one.allocated.device}{one.allocated.share_id}") & set("/\0@.\n")
        check_config(one, claim)


def check_config(one: Wanted, claim: Claim) -> None:
    """The last entry that names a field decides; what only an administrator may set comes from a class."""
    entries = [entry for entry in claim.configs if entry.covers(one.allocated)]
    config = one.config["KnobConfig"]
    for field, default in (("level", 0), ("label", ""), ("unsafe", False)):
        said = [entry.parameters[field] for entry in entries if field in entry.parameters]
        value = getattr(config, field)
        assert value == (said[-1] if said else default)
        assert type(value) is type(default)
    allowed = [entry for entry in claim.configs if entry.source == "FromClass"]
    assert not getattr(config, "unsafe", False) or any("unsafe" in entry.parameters for entry in allowed)
    for entry in claim.configs:
        assert set(entry.parameters) <= {"apiVersion", "kind", "level", "label", "unsafe"}


_VALUES = json_like(("level", "label", "unsafe", "x"), (5, "", True, "5"))
_NAMES = st.sampled_from(("r", "r/s", "s", "q"))
_PARAMETERS = st.fixed_dictionaries(
    {"apiVersion": st.just("knob.example.com/v1"), "kind": st.just("KnobConfig")},
    optional={"level": _VALUES, "label": _VALUES, "unsafe": _VALUES | st.booleans(), "x": _VALUES},
) | st.dictionaries(st.sampled_from(tuple(PARAMETERS)), _VALUES)
_PLAIN = st.fixed_dictionaries(
    {"apiVersion": st.just("knob.example.com/v1"), "kind": st.just("KnobConfig")},
    optional={"level": st.integers(), "label": st.text(max_size=5), "unsafe": st.booleans()},
)
_CONFIGS = st.builds(
    config,
    st.sampled_from(("FromClass", "FromClass", "FromClaim", "")) | _VALUES,
    _PLAIN | _PARAMETERS | _VALUES,
    st.lists(_NAMES, max_size=2) | st.none() | _VALUES,
)
_RESULTS = st.fixed_dictionaries(
    {"driver": st.just(DRIVER), "pool": st.sampled_from((NODE, NODE, "other")), "request": _NAMES | _VALUES},
    optional={
        "device": st.sampled_from(("a", "b", "../a", "a@b", "a/b")) | _VALUES,
        "shareID": st.sampled_from(("0a", "../0a")) | _VALUES,
        "adminAccess": _VALUES,
        "consumedCapacity": _VALUES,
    },
)
_CLAIMS = st.builds(
    whole, st.lists(_RESULTS | _VALUES, max_size=3) | _VALUES, st.lists(_CONFIGS, max_size=4) | _VALUES
) | json_like(("metadata", "status", "allocation", "devices", "results", "uid"), (REF.uid,)).filter(
    lambda raw: isinstance(raw, Mapping)
)
PROPERTY = Property("claims", _CLAIMS, check)
BYTES = Property("claim-bytes", damaged(SEEDS), check_bytes, seeds=SEEDS, raw=True)
