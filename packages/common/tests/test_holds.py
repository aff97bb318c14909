"""Holds: one link for one holder."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from dra_common.errors import StateError
from dra_common.holds import FileHolds

SHARE = "11111111-0000-4000-8000-000000000000"


@pytest.fixture
def holds(tmp_path: Path) -> FileHolds:
    return FileHolds(tmp_path / "held")


def test_the_first_takes_and_may_take_again(holds: FileHolds) -> None:
    assert holds.take("dev", None, "one") == "one"
    assert holds.take("dev", None, "one") == "one"
    assert holds.take("dev", None, "two") == "one"
    assert holds.holders() == {("dev", None): "one"}


def test_shares_of_a_device_are_different_holds(holds: FileHolds, tmp_path: Path) -> None:
    holds.take("dev", SHARE, "one")
    assert holds.take("dev", SHARE[::-1], "two") == "two"
    assert holds.take("dev", SHARE, "two") == "one"
    assert (tmp_path / f"held/dev@{SHARE}").is_symlink()


def test_only_the_holder_releases(holds: FileHolds) -> None:
    holds.take("dev", None, "one")
    holds.release("dev", None, "two")
    assert holds.holders() == {("dev", None): "one"}
    holds.release("dev", None, "one")
    holds.release("dev", None, "one")
    assert holds.holders() == {}


def test_release_all_lets_go_of_one_claims_devices_only(holds: FileHolds) -> None:
    holds.take("a", None, "one")
    holds.take("b", SHARE, "one")
    holds.take("c", None, "two")
    assert sorted(holds.release_all("one")) == ["a", f"b@{SHARE}"]
    assert holds.holders() == {("c", None): "two"}


def test_of_many_at_once_one_wins_and_all_are_told_who(holds: FileHolds) -> None:
    with ThreadPoolExecutor(16) as pool:
        said = set(pool.map(lambda n: holds.take("dev", None, f"claim-{n}"), range(64)))
    assert len(said) == 1
    assert said == {holds.holders()["dev", None]}


def test_take_and_release_race_without_losing_a_hold(holds: FileHolds) -> None:
    def cycle(uid: str) -> int:
        won = 0
        for _ in range(100):
            if holds.take("dev", None, uid) == uid:
                assert holds.holders()["dev", None] == uid
                won += 1
                holds.release("dev", None, uid)
        return won

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(cycle, "abcd")) > 0
    assert holds.holders() == {}


def test_what_is_no_link_is_refused_and_left_alone(holds: FileHolds, tmp_path: Path) -> None:
    (tmp_path / "held/dev").write_text("somebody's notes")
    with pytest.raises(StateError, match="cannot hold"):
        holds.take("dev", None, "one")
    assert holds.holders() == {}
    assert (tmp_path / "held/dev").read_text() == "somebody's notes"


def test_a_folder_that_is_gone_is_a_clear_error(holds: FileHolds, tmp_path: Path) -> None:
    (tmp_path / "held").rmdir()
    with pytest.raises(StateError, match="cannot hold"):
        holds.take("dev", None, "one")
    with pytest.raises(StateError, match="cannot list"):
        holds.holders()
