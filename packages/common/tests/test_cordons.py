"""Cordons: a file for each device that an operator took out of use."""

from __future__ import annotations

import fcntl
import logging
from pathlib import Path

import pytest
from dra_common.cordons import CordonTaints, FileCordons
from dra_common.errors import StateError
from dra_common.model import Taint, TaintEffect, taint_value
from dra_common.slices.names import label_value
from hypothesis import given
from hypothesis import strategies as st


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "cordoned"


def test_a_cordon_is_a_file_that_says_why_and_lasts(folder: Path) -> None:
    FileCordons(folder).add("b", "")
    FileCordons(folder).add("a", "fan 2\nis\x1b[31m loud ")
    assert list(FileCordons(folder).all().items()) == [("a", "fan 2 is [31m loud"), ("b", "")]
    assert (folder / "a").stat().st_mode & 0o777 == 0o600
    assert folder.stat().st_mode & 0o777 == 0o700


def test_the_reason_can_be_said_anew_and_is_short(folder: Path) -> None:
    cordons = FileCordons(folder)
    cordons.add("a", "first")
    cordons.add("a", "word " * 1000)
    assert cordons.all()["a"].startswith("word word")
    assert len(cordons.all()["a"]) <= 200


def test_removing_tells_whether_there_was_one(folder: Path) -> None:
    cordons = FileCordons(folder)
    assert cordons.remove("a") is False
    assert not folder.exists(), "a look makes no folder"
    cordons.add("a", "")
    assert cordons.remove("a") is True
    assert cordons.remove("a") is False
    assert cordons.all() == {}


def test_what_cannot_be_understood_is_a_cordon_all_the_same(folder: Path) -> None:
    folder.mkdir()
    (folder / "binary").write_bytes(b"\xff\xfe\x00")
    (folder / "link").symlink_to("/etc/hostname")
    (folder / "folder").mkdir()
    (folder / "huge").write_bytes(b"x" * (2 << 20))
    (folder / "unfinished.tmp").write_text("half")
    found = FileCordons(folder).all()
    assert found == {"binary": "\ufffd\ufffd", "folder": "", "huge": "", "link": ""}


def test_a_second_command_at_the_same_time_is_told_to_try_again(folder: Path) -> None:
    cordons = FileCordons(folder)
    cordons.add("a", "")
    with (folder / ".lock").open("r+") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(StateError, match=r"another command changes the cordons now \(try again\)"):
            cordons.add("b", "")
        with pytest.raises(StateError, match="another command"):
            cordons.remove("a")
    assert cordons.all() == {"a": ""}


def test_a_folder_that_cannot_be_read_is_an_error_not_an_end_of_all_cordons(folder: Path) -> None:
    folder.write_text("")
    with pytest.raises(StateError, match=str(folder)):
        FileCordons(folder).all()


def test_cordoned_devices_are_tainted_until_they_are_not_and_each_change_is_told_once(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    cordons = FileCordons(folder)
    source = CordonTaints(cordons, "gpu.intel.com")
    assert source({}) == {}
    cordons.add("b", "bad fan")
    cordons.add("gone", "")
    key, effect = "gpu.intel.com/cordoned", TaintEffect.NO_SCHEDULE
    expected = {"b": (Taint(key, effect, "bad-fan"),), "gone": (Taint(key, effect),)}
    assert source({"b": object()}) == expected
    assert source({}) == expected
    cordons.remove("gone")
    cordons.remove("b")
    cordons.add("b", "")
    assert source({}) == {"b": (Taint(key, effect),)}
    assert caplog.messages == [
        "b is cordoned: no new claim gets it: bad fan",
        "gone is cordoned: no new claim gets it",
        "b is cordoned: no new claim gets it",
        "gone is no longer cordoned",
    ]


@pytest.mark.parametrize(
    ("said", "value"),
    [
        ("", ""),
        ("fan 2 is loud!", "fan-2-is-loud"),
        ("--", ""),
        ("RMA #4711/b", "RMA-4711-b"),
        ("\u00e4", ""),
        ("x" * 62 + "  yy", "x" * 62),
    ],
)
def test_taint_values_say_as_much_as_a_label_may(said: str, value: str) -> None:
    assert taint_value(said) == value


@given(st.text(max_size=200))
def test_whatever_people_type_is_a_label_value(said: str) -> None:
    label_value(taint_value(said), "the value")
