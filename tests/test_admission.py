"""The policies made from opaque kinds allow and deny what the driver's own decoder does, evaluated with real CEL."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
import yaml
from cel_expr_python import cel
from cel_expr_python.ext import ext_optional
from dra_common.config import configure
from dra_common.driver import AdminOnly, ConfigKind, OpaqueParameters
from dra_common.errors import ConfigError
from dra_common.model import Allocated, Claim, ClaimRef, OpaqueConfig
from google.protobuf.descriptor_pool import DescriptorPool
from gpu_driver.driver import GpuDriver
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ConfigDict, Field
from pydantic.alias_generators import to_camel

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tools"))

import admission  # noqa: E402 - a script beside the others in tools/


class Fan(OpaqueParameters):
    model_config = ConfigDict(alias_generator=to_camel)

    speed: Annotated[int, Field(ge=0, le=9)] = 3
    label: Annotated[str, Field(max_length=5, pattern=r"^[a-z]*$")] = ""
    side: Literal["left", "right"] | None = None
    nodes: Annotated[tuple[Literal["card", "render"], ...], Field(min_length=1)] = ("card",)
    quiet: bool = False
    full_power: Annotated[bool, AdminOnly()] = False


class Lamp(OpaqueParameters):
    on: bool = True


DRIVER = "fan.example.com"
FAN, LAMP = ConfigKind("fan.example.com/v1", "Fan", Fan), ConfigKind("fan.example.com/v2", "Lamp", Lamp)
KINDS = (FAN, LAMP)
HEAD = {"apiVersion": FAN.api_version, "kind": FAN.kind}
PLACES: Mapping[str, Callable[[list[dict[str, Any]]], dict[str, Any]]] = {
    "deviceclasses": lambda config: {"config": config},
    "resourceclaims": lambda config: {"devices": {"config": config}},
    "resourceclaimtemplates": lambda config: {"spec": {"devices": {"config": config}}},
}


class Policy:
    """A ValidatingAdmissionPolicy as an API server evaluates it: variables in order, then every validation."""

    def __init__(self, spec: Mapping[str, Any]) -> None:
        self.spec = spec
        names = dict.fromkeys(("object", "oldObject", "request"), cel.Type.DYN)
        self._env = cel.NewEnv(
            DescriptorPool(),
            variables={**names, "variables": cel.Type.Map(cel.Type.STRING, cel.Type.DYN)},
            extensions=[ext_optional.ExtOptional()],
        )

    def verdicts(self, new: Any, resource: str, old: Any = None) -> list[str]:
        """Return the messages of what is denied. Raises AssertionError for an expression that fails."""
        operation = "CREATE" if old is None else "UPDATE"
        request = {"operation": operation, "resource": {"resource": resource}}
        data: dict[str, Any] = {"object": new, "oldObject": old or {}, "request": request, "variables": {}}
        if not all(self._value(each["expression"], data) for each in self.spec["matchConditions"]):
            return []
        for each in self.spec["variables"]:
            data["variables"] = {**data["variables"], each["name"]: self._value(each["expression"], data)}
        return [
            str(self._value(each["messageExpression"], data))
            for each in self.spec["validations"]
            if not self._value(each["expression"], data)
        ]

    def _value(self, expression: str, data: Mapping[str, Any]) -> Any:
        result = self._env.compile(expression).eval(data=dict(data))
        assert result.type() != cel.Type.ERROR, f"{expression}: {result.value()}"
        return result.plain_value()


POLICY = Policy(admission.spec(DRIVER, KINDS))


def entry(parameters: object, driver: str = DRIVER) -> dict[str, Any]:
    return {"opaque": {"driver": driver, "parameters": parameters}}


def denied(resource: str, *parameters: object, policy: Policy = POLICY) -> list[str]:
    return policy.verdicts({"spec": PLACES[resource]([entry(each) for each in parameters])}, resource)


def refused(resource: str, *parameters: Mapping[str, Any]) -> str:
    """What the driver says of the same configuration."""
    source: Literal["FromClass", "FromClaim"] = "FromClass" if resource == "deviceclasses" else "FromClaim"
    configs = tuple(OpaqueConfig(source, (), each) for each in parameters)
    claim = Claim(ClaimRef("default", "c", "uid"), (Allocated("r", "node", "device"),), configs)
    try:
        configure(claim, KINDS)
    except ConfigError as error:
        return str(error)
    return ""


# --------------------------------------------------------------------------- what is denied, in which words


@pytest.mark.parametrize("resource", PLACES)
def test_what_is_right_is_let_through(resource: str) -> None:
    good = [
        {**HEAD, "speed": 9, "label": "abc", "side": None, "nodes": ["render", "card"], "quiet": True},
        HEAD,
    ]
    assert denied(resource, *good, {"apiVersion": "fan.example.com/v2", "kind": "Lamp", "on": False}) == []
    assert denied(resource) == []


@pytest.mark.parametrize("resource", PLACES)
@pytest.mark.parametrize(
    ("said", "why"),
    [
        (
            {"speeed": 1},
            "Fan has no field speeed; it has the fields fullPower, label, nodes, quiet, side, speed",
        ),
        (
            {"full_power": True},
            "Fan has no field full_power; it has the fields fullPower, label, nodes, quiet,",
        ),
        ({"speed": "1"}, "Fan field speed must be a whole number (at least 0, at most 9)"),
        ({"speed": 10}, "Fan field speed must be a whole number (at least 0, at most 9)"),
        ({"speed": 1.0}, "Fan field speed must be a whole number"),
        ({"label": "abcdef"}, "Fan field label must be text (characters: at most 5, like ^[a-z]*$)"),
        ({"label": "AB"}, "Fan field label must be text"),
        ({"side": "top"}, "Fan field side must be left or right"),
        ({"nodes": "card"}, "Fan field nodes must be a list of card or render"),
        ({"nodes": []}, "Fan field nodes must be a list of card or render"),
        ({"nodes": ["card", "mei"]}, "Fan field nodes must be a list of card or render"),
        ({"quiet": "yes"}, "Fan field quiet must be true or false"),
        ({"quiet": None}, "Fan field quiet must be true or false"),
    ],
)
def test_what_is_wrong_is_denied_with_its_field(resource: str, said: dict[str, Any], why: str) -> None:
    [message] = denied(resource, HEAD, {**HEAD, **said})
    assert message.startswith(why)
    assert refused(resource, HEAD, {**HEAD, **said})


@pytest.mark.parametrize(
    "head", [{}, {"kind": "Fan"}, {**HEAD, "kind": "Lamp"}, {**HEAD, "apiVersion": "v1"}, {**HEAD, "kind": 7}]
)
def test_an_unknown_kind_is_denied_with_those_that_there_are(head: dict[str, Any]) -> None:
    [message] = denied("resourceclaims", head)
    assert message == (
        "opaque configuration for fan.example.com must be one of: Fan (fan.example.com/v1), Lamp (fan.example.com/v2)"
    )
    assert refused("resourceclaims", head)


def test_a_field_of_the_administrator_is_allowed_in_a_class_only() -> None:
    said = {**HEAD, "fullPower": True}
    assert denied("deviceclasses", said) == []
    for resource in ("resourceclaims", "resourceclaimtemplates"):
        assert denied(resource, said) == ["Fan field fullPower may be set in the DeviceClass only"]
        assert denied(resource, {**said, "fullPower": False}) != []


def test_configuration_of_other_drivers_is_none_of_our_business() -> None:
    config = [entry({"what": "ever"}, "other.example.com"), {"requests": ["a"]}]
    for resource, place in PLACES.items():
        assert POLICY.verdicts({"spec": place(config)}, resource) == []


def test_objects_without_configuration_are_let_through() -> None:
    assert POLICY.verdicts({"spec": {}}, "deviceclasses") == []
    assert POLICY.verdicts({"spec": {}}, "resourceclaims") == []
    assert POLICY.verdicts({"spec": {"devices": {"requests": []}}}, "resourceclaims") == []
    assert POLICY.verdicts({"spec": {"spec": {}}}, "resourceclaimtemplates") == []


def test_an_update_counts_only_if_it_changes_what_is_asked_for() -> None:
    """A claim that was made before the policy must be able to lose its finalizer."""
    bad = {"spec": PLACES["resourceclaims"]([entry({"kind": "Old"})])}
    assert POLICY.verdicts(bad, "resourceclaims")
    assert POLICY.verdicts({**bad, "metadata": {"finalizers": []}}, "resourceclaims", old=bad) == []
    good = {"spec": {"config": [entry(HEAD)]}}
    worse = {"spec": {"config": [entry({**HEAD, "speed": -1})]}}
    assert POLICY.verdicts(worse, "deviceclasses", old=good)
    assert POLICY.verdicts(good, "deviceclasses", old=worse) == []


# --------------------------------------------------------------------------- the same as the driver


_VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 12),
    st.sampled_from([1.0, 0.5, "", "left", "card", "abc", "ABC", "toolong", "7"]),
    st.lists(st.sampled_from(["card", "render", "mei", 1, None]), max_size=3),
    st.just({}),
)
_NAMES = st.sampled_from(
    [*(field.alias or name for name, field in Fan.model_fields.items()), "on", "full_power"]
)
_HEADS = st.sampled_from([HEAD] * 6 + [{"apiVersion": LAMP.api_version, "kind": "Lamp"}, {"kind": "Fan"}, {}])


@given(st.builds(lambda head, body: {**body, **head}, _HEADS, st.dictionaries(_NAMES, _VALUES, max_size=3)))
def test_the_policy_denies_exactly_what_the_driver_refuses(parameters: dict[str, Any]) -> None:
    for resource in PLACES:
        assert bool(denied(resource, parameters)) == bool(refused(resource, parameters))


# --------------------------------------------------------------------------- the GPU driver's


@pytest.mark.parametrize("resource", PLACES)
def test_every_field_of_the_gpu_driver_is_checked(resource: str) -> None:
    [kind] = GpuDriver.config_kinds
    policy = Policy(admission.spec(GpuDriver.name, [kind]))
    head = {"apiVersion": kind.api_version, "kind": kind.kind}

    def of(parameters: dict[str, Any]) -> list[str]:
        config = [entry({**head, **parameters}, GpuDriver.name)]
        return policy.verdicts({"spec": PLACES[resource](config)}, resource)

    assert of({}) == []
    for name, field in kind.model.model_fields.items():
        [message] = of({field.alias or name: {"no": "value"}})[:1]
        assert message.startswith(f"{kind.kind} field {field.alias or name} must be ")


# --------------------------------------------------------------------------- the template


def test_the_template_is_the_policy_and_a_binding() -> None:
    rendered = yaml.safe_load_all(
        "\n".join(
            line
            for line in admission.template(DRIVER, KINDS).splitlines()
            if not line.strip().startswith("{{")
        ).replace('{{ include "driver.clusterName" . }}', "cluster-name")
    )
    policy, binding = rendered
    assert policy["spec"] == admission.spec(DRIVER, KINDS)
    assert binding["spec"] == {"policyName": policy["metadata"]["name"], "validationActions": ["Deny"]}


def test_what_cel_is_not_taught_fails_the_generation() -> None:
    class Strange(OpaqueParameters):
        share: float = 0.5

    with pytest.raises(ValueError, match="no expression"):
        admission.spec(DRIVER, [ConfigKind("v1", "Strange", Strange)])


def test_expressions_and_objects_are_within_the_limits_of_the_api() -> None:
    spec = admission.spec(DRIVER, KINDS)
    assert len(spec["validations"]) < 100
    assert all(len(each["expression"]) < 10_000 for each in (*spec["validations"], *spec["variables"]))
    assert json.dumps(spec)
