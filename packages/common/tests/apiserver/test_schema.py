from __future__ import annotations

from typing import Any

import pytest
from dra_common.testing.apiserver import Refusal, schema
from dra_common.testing.apiserver.schema import (
    ANY,
    BOOL,
    INT,
    QUANTITY,
    STRING,
    STRING_POINTER,
    TIME,
    ListOf,
    MapOf,
)

SHAPE = schema.Record(
    {
        "name": STRING,
        "pointer": STRING_POINTER,
        "count": schema.Scalar("int", default=0),
        "flag": BOOL,
        "sizes": MapOf(QUANTITY),
        "list": ListOf(schema.Record({"n": INT})),
        "free": ANY,
        "at": TIME,
    }
)


def decode(value: dict[str, Any]) -> Any:
    return schema.decode(SHAPE, value, "Thing")


def test_unknown_fields_vanish_at_every_depth() -> None:
    assert decode({"name": "a", "nmae": 1, "list": [{"n": 1, "m": 2}]}) == {
        "name": "a",
        "count": 0,
        "list": [{"n": 1}],
    }


def test_empty_optional_fields_vanish_but_pointers_false_and_zero_stay() -> None:
    value = {"name": "", "pointer": "", "count": 0, "flag": False, "sizes": {}, "list": [], "free": {}}
    assert decode(value) == {"pointer": "", "count": 0, "flag": False, "free": {}}


def test_null_is_absent() -> None:
    assert decode({"name": None, "list": None, "flag": None}) == {"count": 0}


def test_quantities_become_canonical_and_may_be_numbers() -> None:
    assert decode({"sizes": {"a": "1024Mi", "b": 2000}})["sizes"] == {"a": "1Gi", "b": "2k"}


def test_times_become_utc_in_whole_seconds() -> None:
    assert decode({"at": "2026-01-02T03:04:05.9+01:00"})["at"] == "2026-01-02T02:04:05Z"


def test_free_content_is_untouched() -> None:
    content: dict[str, Any] = {"empty": "", "none": None, "list": []}
    assert decode({"free": content})["free"] == content


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"name": 1}, "cannot unmarshal number into Go struct field Thing.name of type string"),
        ({"flag": "true"}, "cannot unmarshal string into Go struct field Thing.flag of type bool"),
        ({"count": True}, "cannot unmarshal bool into Go struct field Thing.count of type int64"),
        ({"count": 1.5}, "cannot unmarshal number"),
        ({"count": 2**63}, "of type int64"),
        ({"list": {}}, "cannot unmarshal object into Go struct field Thing.list of type array"),
        ({"list": [{"n": "1"}]}, r"Thing\.list\[0\]\.n"),
        ({"sizes": {"a": "1 GB"}}, r"Thing\.sizes\[a\]"),
        ({"sizes": {"a": True}}, "of type Quantity"),
        ({"at": "yesterday"}, 'parsing time "yesterday"'),
        ({"at": "2026-01-02T03:04:05"}, "no time zone"),
    ],
)
def test_wrong_types_are_a_bad_request_that_names_the_field(value: dict[str, Any], words: str) -> None:
    with pytest.raises(Refusal, match=words) as caught:
        decode(value)
    assert caught.value.code == 400
