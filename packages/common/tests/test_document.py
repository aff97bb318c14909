"""YAML by people: what it says, and where; whatever is wrong is one line with a number."""

from __future__ import annotations

from typing import Any

import pytest
from dra_common.document import Document
from dra_common.errors import SettingsError
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, ValidationError

TEXT = """\
# a comment
name: x
list:
  - a: 1
  - a: 2
    b:
      deep: true
"""


def read(text: str | bytes) -> Document:
    return Document("file f", text if isinstance(text, bytes) else text.encode(), "begin with `name:`")


def complaint(text: str | bytes) -> str:
    with pytest.raises(SettingsError) as caught:
        read(text)
    assert str(caught.value).startswith("file f: ")
    return str(caught.value).removeprefix("file f: ")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a: 0000:03:00.0", "0000:03:00.0"),
        ("a: 0x56c0", "0x56c0"),
        ("a: 010", "010"),
        ("a: 10", 10),
        ("a: -3", -3),
        ("a: 1.5", "1.5"),
        ("a: no", "no"),
        ("a: on", "on"),
        ("a: true", True),
        ("a: True", "True"),
        ("a: null", None),
        ("a: ~", None),
        ("a:", None),
        ("a: 2026-01-01", "2026-01-01"),
        ("a: '10'", "10"),
        ("a: [1, {b: c}]", [1, {"b": "c"}]),
        ("x: &x [1]\na: *x", [1]),
        ("a: {<<: 1}", {"<<": 1}),
    ],
)
def test_values_are_what_people_mean(text: str, value: object) -> None:
    assert read(text).value["a"] == value


@pytest.mark.parametrize(
    ("place", "line"),
    [
        ((), 2),
        (("name",), 2),
        (("list",), 3),
        (("list", 1), 5),
        (("list", 1, "b", "deep"), 7),
        (("list", 1, "b", "missing"), 6),
        (("list", 9), 3),
        (("missing", "x"), 2),
    ],
)
def test_each_part_has_a_line(place: tuple[str | int, ...], line: int) -> None:
    assert read(TEXT).line(place) == line


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty (begin with `name:`)"),
        ("# nothing\n", "is empty (begin with `name:`)"),
        ("- a\n", "line 1: not a mapping (begin with `name:`)"),
        ("just text", "line 1: not a mapping (begin with `name:`)"),
        ("a: b\na: c\n", "line 2: a is there twice"),
        ("a:\n  b: 1\n  c: 2\n  b: 3\n", "line 4: b is there twice"),
        ("a: [\n", "line 2: not YAML: "),
        ("a: b: c\n", "line 1: not YAML: "),
        ("a: *b\n", "line 1: not YAML: found undefined alias"),
        ("a: &x {b: *x}\n", "an anchor contains itself"),
        ("a: 1\n---\nb: 2\n", "line 2: not YAML: "),
        ("a: \x00", "not YAML: "),
        (b"a: \xff\n", "not UTF-8 text at byte 3"),
        ("a: !!python/object:os.system x\n", "line 1: could not determine a constructor"),
        ("a: !!binary aGk=\n", "holds a value that JSON does not have"),
        ("a: !!timestamp 2026-01-01\n", "holds a value that JSON does not have"),
        ("a: !!float .inf\n", "holds a value that JSON does not have"),
        ("? [a]\n: b\n", "line 1: found unhashable key"),
        ("a: " + "[" * 100_000, "not YAML: nested too deeply"),
    ],
)
def test_what_cannot_be_read_says_where(text: str | bytes, said: str) -> None:
    found = complaint(text)
    assert found.startswith(said)
    assert "\n" not in found


def test_a_few_lines_cannot_become_millions() -> None:
    bomb = "a: &a [x,x,x,x,x,x,x,x,x,x]\n"
    for before, name in zip("abcdefgh", "bcdefghi", strict=True):
        bomb += f"{name}: &{name} [{','.join([f'*{before}'] * 10)}]\n"
    assert complaint(bomb) == "has more than 100000 values"


class Model(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    number: int = 0
    other: int = 0


def explained(text: str, **said: Any) -> str:
    document = read(text)
    with pytest.raises(ValidationError) as caught:
        Model.model_validate(said)
    return str(document.explain(caught.value))


def test_what_a_model_has_against_it_says_line_field_and_value() -> None:
    assert explained("number: x\n", number="x") == (
        "file f: line 1: number: Input should be a valid integer, not 'x'"
    )
    assert explained("a: 1\nother: 1\ncolour: red\n", colour="red") == "file f: line 3: colour: unknown field"
    assert explained("number: x\nother: y\n", number="x", other="y").endswith("not 'x' (and 1 more)")


@given(st.text(max_size=200) | st.binary(max_size=200))
def test_any_text_is_read_or_refused_in_one_line(text: str | bytes) -> None:
    content = text if isinstance(text, bytes) else text.encode(errors="surrogatepass")
    refusal = ""
    try:
        assert isinstance(Document("f", content, "begin").value, dict)
    except SettingsError as error:
        refusal = str(error)
    assert "\n" not in refusal
