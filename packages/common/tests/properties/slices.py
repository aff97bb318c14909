"""Whatever a driver publishes, whatever a server understands: slices that it accepts, or an error before it is asked.

Nothing unsafe is ever offered: not a broken device as a good one, not the same hardware twice.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from dra_common.errors import SliceError
from dra_common.model import (
    Capacity,
    CounterConsumption,
    CounterSet,
    Device,
    Quantity,
    RequestPolicy,
    Snapshot,
    Taint,
    TaintEffect,
    Version,
)
from dra_common.publisher.compare import dropped_fields, fingerprint
from dra_common.slices import GATES, ServerFeatures, Slices, to_slices
from dra_common.testing.apiserver.features import Features
from dra_common.testing.apiserver.slices import SliceRules
from hypothesis import strategies as st
from properties.base import Property

DRIVER = "knob.example.com"
Given = tuple[Snapshot, ServerFeatures, int]


def check(given: Given) -> None:
    snapshot, features, index = given
    try:
        slices = to_slices(snapshot, driver=DRIVER, features=features)
    except SliceError as error:
        assert error.message
        return
    assert to_slices(replace(snapshot, generation=99), driver=DRIVER, features=features) == slices
    published = [dict(device) for content in slices.contents for device in content.devices]
    check_nothing_is_lost(snapshot, slices, [device["name"] for device in published])
    check_nothing_unsafe_is_offered(snapshot, features, {device["name"] for device in published})
    check_the_server_takes_it(slices, features)
    check_a_change_stays_where_it_is(snapshot, features, slices, index)


def check_nothing_is_lost(snapshot: Snapshot, slices: Slices, published: list[str]) -> None:
    gone = [withdrawn.device for withdrawn in slices.withdrawn]
    everybody = [device.name for device in snapshot.devices]
    assert sorted(published + gone) == sorted(everybody)
    assert published == [name for name in everybody if name in published], "the order of preference is lost"


def check_nothing_unsafe_is_offered(
    snapshot: Snapshot, features: ServerFeatures, published: set[str]
) -> None:
    offered = [device for device in snapshot.devices if device.name in published]
    for device in offered:
        keeps_away = any(taint.effect is not TaintEffect.NONE for taint in device.taints)
        assert features.taints or not keeps_away or device.name in snapshot.held
        assert features.consumable_capacity or not device.allow_multiple_allocations
    if not features.partitionable:
        check_counters_cannot_be_overdrawn(snapshot, offered)


def check_counters_cannot_be_overdrawn(snapshot: Snapshot, offered: list[Device]) -> None:
    """All that is offered and not held could be allocated at once, beside all that is held."""
    totals = {
        (each.name, name): value.value
        for each in snapshot.counter_sets
        for name, value in each.counters.items()
    }
    held = [device for device in snapshot.devices if device.name in snapshot.held]
    free = [device for device in offered if device.name not in snapshot.held]
    before, after = _spent(held), _spent(held + free)
    for key, amount in after.items():
        assert amount <= totals[key] or amount == before.get(key), f"{key} is overdrawn"
    assert not any(device.allow_multiple_allocations for device in offered if device.consumes)


def _spent(devices: list[Device]) -> dict[tuple[str, str], int]:
    spent: dict[tuple[str, str], int] = {}
    for device in devices:
        for entry in device.consumes:
            for name, amount in entry.counters.items():
                key = entry.counter_set, name
                spent[key] = spent.get(key, 0) + amount.value
    return spent


def check_the_server_takes_it(slices: Slices, features: ServerFeatures) -> None:
    """By the rules of the fake API server, written apart; and it drops nothing."""
    for number, content in enumerate(slices.contents):
        spec = {
            "driver": DRIVER,
            "nodeName": "node-1",
            "pool": {"name": "node-1", "generation": 1, "resourceSliceCount": len(slices.contents)},
            **content.spec(),
        }
        stored = stored_by(features, spec)
        assert dropped_fields(spec, stored) == (), f"slice {number}"
        assert fingerprint(stored) == fingerprint(spec)


def check_a_change_stays_where_it_is(
    snapshot: Snapshot, features: ServerFeatures, slices: Slices, index: int
) -> None:
    """One attribute of one device changes one slice, or none if the device is not published."""
    if not snapshot.devices:
        return
    index %= len(snapshot.devices)
    old = snapshot.devices[index]
    if "changed" not in old.attributes:
        return
    devices = list(snapshot.devices)
    devices[index] = replace(old, attributes={**old.attributes, "changed": not old.attributes["changed"]})
    other = to_slices(replace(snapshot, devices=tuple(devices)), driver=DRIVER, features=features)
    pairs = zip(slices.contents, other.contents, strict=True)
    changed = sum(_text(before) != _text(after) for before, after in pairs)
    assert changed == (old.name not in {withdrawn.device for withdrawn in slices.withdrawn})


def _text(content: Any) -> str:
    return json.dumps(content.spec(), sort_keys=True)


def stored_by(features: ServerFeatures, spec: dict[str, Any]) -> dict[str, Any]:
    """Return the spec as a server with these features keeps it; it has nothing to complain of."""
    on = {gate: bool(getattr(features, name)) for name, gate in GATES.items()}
    rules = SliceRules(Features.of(".".join(map(str, features.version)), on))
    new = {
        "apiVersion": "resource.k8s.io/v1",
        "kind": "ResourceSlice",
        "metadata": {},
        "spec": json.loads(json.dumps(spec)),
    }
    stored = rules.admit(new, None)
    assert rules.check(stored, None) == []
    return dict(stored["spec"])


_names = st.sampled_from(("a", "b-1", "card0-vf2", "x" * 63)) | st.sampled_from(
    ("", "A", "-a", "a_b", "x" * 64)
)
_good_names = st.from_regex(r"\A[a-z]([-a-z0-9]{0,4}[a-z0-9])?\Z")
_idents = st.sampled_from(
    ("model", "changed", "numaNode", "knob.example.com/model", "resource.kubernetes.io/numaNode")
)
_values = st.one_of(
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.text(max_size=16).filter(lambda text: text.isprintable()),
    st.builds(Version, st.sampled_from(("1.2.3", "1.0.0-rc.1+x", "1.2", ""))),
    st.integers(),
    st.text(max_size=70),
)
_quantities = st.builds(Quantity, st.integers(0, 40), st.sampled_from(("binary", "decimal"))) | st.builds(
    Quantity, st.integers(-1, 2**63), st.just("binary")
)
_small = st.builds(Quantity, st.integers(0, 4))
_policies = st.builds(
    RequestPolicy,
    _quantities,
    st.lists(_quantities, max_size=3).map(tuple),
    *(st.none() | _quantities for _ in ("minimum", "maximum", "step")),
)
_good_policies = st.integers(1, 9).map(lambda each: RequestPolicy(Quantity(each), (Quantity(each),)))
_taints = st.builds(
    Taint,
    st.sampled_from(("knob.example.com/unhealthy", "busy", "-")),
    st.sampled_from(TaintEffect),
    st.sampled_from(("", "memory", "not a label")),
)
_good_taints = st.builds(Taint, st.just("knob.example.com/unhealthy"), st.sampled_from(TaintEffect))
_SETS = ("p0", "p1")
_consumes = st.lists(
    st.builds(
        CounterConsumption,
        st.sampled_from(_SETS),
        st.dictionaries(st.sampled_from(("mode", "vfs")), _small, min_size=1),
    ),
    max_size=2,
    unique_by=lambda entry: entry.counter_set,
).map(tuple)
_changing = st.fixed_dictionaries({"changed": st.booleans()})
_good_devices = st.one_of(
    st.builds(
        Device,
        _good_names,
        _changing,
        taints=st.lists(_good_taints, max_size=1).map(tuple),
        consumes=_consumes,
    ),
    st.builds(
        Device,
        _good_names,
        _changing,
        st.dictionaries(st.just("memory"), st.builds(Capacity, st.just(Quantity(10)), _good_policies)),
        consumes=_consumes,
        allow_multiple_allocations=st.just(value=True),
    ),
)
_devices = st.builds(
    Device,
    _good_names | _names,
    st.dictionaries(_idents, _values, max_size=4),
    st.dictionaries(_idents, st.builds(Capacity, _quantities, st.none() | _policies), max_size=2),
    st.lists(_taints, max_size=5).map(tuple),
    _consumes,
    st.booleans(),
)
_counters = tuple(CounterSet(name, {"mode": Quantity(1), "vfs": Quantity(4)}) for name in _SETS)


def _snapshot(devices: list[Device], more: int, sets: int, held: list[int]) -> Snapshot:
    """Some devices of interest in the midst of ``more`` plain ones."""
    plain = [Device(f"plain-{index}", {"changed": False}) for index in range(more)]
    whole = (*plain[: more // 2], *devices, *plain[more // 2 :])
    names = frozenset(devices[index % len(devices)].name for index in held) if devices else frozenset[str]()
    extra = tuple(CounterSet(f"e{index}", {"mode": Quantity(1)}) for index in range(sets))
    return Snapshot(1, whole, _counters + extra, names)


_features = st.builds(
    lambda version, taints, partitionable, shared: ServerFeatures(
        version, taints, partitionable and version != (1, 34), shared
    ),
    st.sampled_from(((1, 34), (1, 35), (1, 36))),
    *(st.booleans() for _ in GATES),
)
_snapshots = st.builds(
    _snapshot,
    st.lists(_good_devices, max_size=6, unique_by=lambda device: device.name)
    | st.lists(_good_devices | _devices, max_size=3),
    st.sampled_from((*[0] * 20, 60, 63, 64, 128)),
    st.sampled_from((*[0] * 9, 6, 7)),
    st.lists(st.integers(0, 5), max_size=3),
)
PROPERTY = Property("slices", st.tuples(_snapshots, _features, st.integers(0, 200)), check, examples=120)
