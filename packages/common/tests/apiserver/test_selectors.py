from __future__ import annotations

import pytest
from dra_common.testing.apiserver import Refusal
from dra_common.testing.apiserver.resources import Resource
from dra_common.testing.apiserver.selectors import parse

THINGS = Resource("g", "v1", "things", "Thing", selectable=("spec.nodeName",))
ITEM = {"metadata": {"name": "a"}, "spec": {"nodeName": "n1"}}
EMPTY = {"metadata": {"name": "b"}, "spec": {}}


@pytest.mark.parametrize(
    ("text", "item", "empty"),
    [
        ("", True, True),
        ("spec.nodeName=n1", True, False),
        ("spec.nodeName==n1", True, False),
        ("spec.nodeName!=n1", False, True),
        ("spec.nodeName=", False, True),
        ("spec.nodeName=n1,metadata.name=a", True, False),
        ("spec.nodeName=n1,metadata.name=b", False, False),
    ],
)
def test_compares_fields(text: str, item: bool, empty: bool) -> None:  # noqa: FBT001 (a column of the table)
    selector = parse(text, THINGS)
    assert (selector.matches(ITEM), selector.matches(EMPTY)) == (item, empty)


def test_nothing_matches_no_object() -> None:
    assert not parse("", THINGS).matches(None)


@pytest.mark.parametrize("text", ["spec.driver=x", "metadata.namespace=x", "status.phase!=Running"])
def test_unsupported_fields_are_a_bad_request(text: str) -> None:
    with pytest.raises(Refusal, match="field label not supported") as caught:
        parse(text, THINGS)
    assert caught.value.code == 400


def test_a_selector_without_operator_is_a_bad_request() -> None:
    with pytest.raises(Refusal, match=r"can.t understand .spec\.nodeName."):
        parse("spec.nodeName", THINGS)
