"""Layers of an operator's policy: what is said wins over what is not said, and the later over the earlier."""

from __future__ import annotations

from typing import Annotated, Any

import jsonschema
import pytest
from dra_common.policy import (
    DevicePolicy,
    DriverPolicy,
    Flag,
    Joined,
    Patterns,
    PolicyKind,
    PolicyModel,
    changes,
    effective,
    file_model,
    matches,
    overlay,
    schema,
    sections,
)
from pydantic import ValidationError


class Fan(PolicyModel):
    """A part with settings of its own."""

    speed: int = 3
    quiet_hours: str = "none"


class Rule(DevicePolicy):
    """What holds for devices of these names."""

    match: Patterns
    limit: int | None = None


class Policy(DriverPolicy):
    """What is decided.

    Args:
        manage: whether to manage, which takes
            two lines to say.
        devices: rules.
    """

    manage: Annotated[bool, Flag(("--manage/--no-manage",), "MANAGE", "Manage.")] = True
    cooling: Fan = Fan()
    lamp: Fan | None = None
    names: tuple[str, ...] = ("default",)
    devices: Annotated[tuple[Rule, ...], Joined()] = ()


KIND = PolicyKind("config.example.com/v1", "ExampleConfig", Policy)
HEAD = {"apiVersion": "config.example.com/v1", "kind": "ExampleConfig"}


def decoded(**said: Any) -> DriverPolicy:
    return file_model(KIND).model_validate({**HEAD, **said}, strict=False, by_name=False, by_alias=True)


def on(node: str, flags: dict[str, object] | None = None, **said: Any) -> Policy:
    found = effective(KIND, decoded(**said), node, flags or {})
    assert type(found) is Policy
    return found


# --------------------------------------------------------------------------- layers


def test_without_anything_the_defaults_hold() -> None:
    assert effective(KIND, None, "n", {}) == Policy()
    assert on("n") == Policy()


def test_what_is_not_said_stays() -> None:
    found = on("n", cooling={"speed": 7})
    assert found == Policy(cooling=Fan(speed=7))
    found = on("n", cooling={"speed": 7}, nodes=[{"match": "n", "cooling": {"quietHours": "night"}}])
    assert found.cooling == Fan(speed=7, quiet_hours="night")


def test_what_is_said_again_with_the_default_s_value_is_said() -> None:
    """It is not the value that counts, but that somebody gave it."""
    found = on("n", manage=False, nodes=[{"match": "n", "manage": True}])
    assert found.manage is True


def test_a_part_that_was_absent_may_come_and_go() -> None:
    nodes = [{"match": "n*", "lamp": {"speed": 1}}, {"match": "n2", "lamp": None}]
    assert on("n1", nodes=nodes).lamp == Fan(speed=1)
    assert on("n2", nodes=nodes).lamp is None


def test_lists_are_replaced_and_rules_are_joined() -> None:
    rule = {"match": ["a"], "publish": False}
    more = {"match": ["b"], "limit": 2}
    found = on("n", names=["x"], devices=[rule], nodes=[{"match": "n", "names": ["y"], "devices": [more]}])
    assert found.names == ("y",)
    assert [each.match for each in found.devices] == [("a",), ("b",)]


def test_sections_of_other_nodes_do_not_count_and_the_last_of_several_wins() -> None:
    nodes = [
        {"match": ["gpu-*", "other"], "names": ["first"], "manage": False},
        {"match": "gpu-1", "names": ["second"]},
        {"match": "gpu-[23]", "names": ["third"]},
    ]
    assert on("cpu-1", nodes=nodes) == Policy()
    assert on("gpu-1", nodes=nodes) == Policy(names=("second",), manage=False)
    assert on("gpu-3", nodes=nodes).names == ("third",)
    assert on("gpu-4", nodes=nodes).names == ("first",)
    assert len(sections(decoded(nodes=nodes), "gpu-1")) == 2


def test_flags_win_over_everything() -> None:
    said: dict[str, Any] = {"manage": True, "nodes": [{"match": "*", "manage": True}]}
    assert on("n", {"manage": False}, **said).manage is False
    assert on("n", {}, **said).manage is True
    with pytest.raises(ValidationError):
        on("n", {"manage": "perhaps"})


def test_a_layer_is_changed_by_none_that_follows() -> None:
    first = Policy(manage=False)
    assert overlay(first, Policy(names=("x",))) == Policy(manage=False, names=("x",))
    assert first == Policy(manage=False)


def test_rules_of_a_device_are_laid_over_one_another() -> None:
    found = DevicePolicy()
    for rule in (Rule(match=("*",), publish=False), Rule(match=("a",), limit=1)):
        found = overlay(found, rule)
    assert type(found) is DevicePolicy
    assert found == DevicePolicy(publish=False)


def test_what_differs_is_named_as_in_the_file() -> None:
    assert changes(Policy(), Policy()) == ()
    assert changes(Policy(), Policy(manage=False, lamp=Fan())) == ("manage", "lamp")


# --------------------------------------------------------------------------- patterns


@pytest.mark.parametrize(
    ("patterns", "text", "fits"),
    [
        (("a*",), "abc", True),
        (("a*",), "ba", False),
        (("A*",), "abc", False),
        (("x", "a?c"), "abc", True),
        (("0000:0[34]:*",), "0000:04:00.0", True),
        (("0000:0[34]:*",), "0000:05:00.0", False),
        ((), "abc", False),
    ],
)
def test_patterns_match_the_whole_text(patterns: tuple[str, ...], text: str, fits: bool) -> None:  # noqa: FBT001
    assert matches(patterns, text) is fits


@pytest.mark.parametrize("bad", [[], "", [""], ["a", 7], 7, None, {"a": "b"}, ["x" * 300]])
def test_patterns_are_one_text_or_several(bad: object) -> None:
    with pytest.raises(ValidationError):
        decoded(nodes=[{"match": bad}])
    assert list(schema_errors({**HEAD, "nodes": [{"match": bad}]}))


# --------------------------------------------------------------------------- the file


@pytest.mark.parametrize(
    "bad",
    [
        {"manages": True},
        {"quiet_hours": "x"},
        {"cooling": {"quiet_hours": "x"}},
        {"nodes": [{"manage": True}]},
        {"nodes": [{"match": "n", "nodes": []}]},
        {"devices": [{"publish": False}]},
        {"kind": "Other"},
        {"manage": []},
    ],
)
def test_what_the_model_refuses_the_schema_refuses(bad: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        decoded(**bad)
    assert list(schema_errors({**HEAD, **bad}))


def test_what_the_model_takes_the_schema_takes() -> None:
    said = {
        **HEAD,
        "manage": False,
        "cooling": {"speed": 1, "quietHours": "x"},
        "lamp": None,
        "names": [],
        "devices": [{"match": "a", "publish": False, "limit": None}],
        "nodes": [{"match": ["a", "b*"], "manage": True, "devices": [{"match": ["c"]}]}],
    }
    assert file_model(KIND).model_validate(said, strict=False).model_fields_set >= {"manage", "nodes"}
    assert not list(schema_errors(said))


def test_the_schema_says_what_the_fields_are() -> None:
    made = schema(KIND)
    jsonschema.Draft202012Validator.check_schema(made)
    for part in (made, made["$defs"]["ExampleConfigNode"]):
        assert part["properties"]["manage"] == {
            "default": True,
            "type": "boolean",
            "description": "Whether to manage, which takes two lines to say.",
        }
    assert made["description"] == "What is decided."
    rule = made["$defs"]["Rule"]["properties"]
    assert list(rule) == ["match", "publish", "limit"]
    assert rule["publish"]["description"].startswith("Whether the device is offered.")
    assert made["properties"]["nodes"]["description"]
    assert made["required"] == ["apiVersion", "kind"]
    assert set(made["$defs"]["ExampleConfigNode"]["properties"]) == {
        *(set(made["properties"]) - {"apiVersion", "kind", "nodes"}),
        "match",
    }


def schema_errors(said: object) -> list[jsonschema.ValidationError]:
    return list(jsonschema.Draft202012Validator(schema(KIND)).iter_errors(said))
