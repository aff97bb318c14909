"""Holds: one link for one holder."""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from dra_common.errors import StateError
from dra_common.holds import FileHolds
from mortal import Meeting, lives

SHARE = "11111111-0000-4000-8000-000000000000"
OTHER = "22222222-0000-4000-8000-000000000000"


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
    assert (tmp_path / f"held/dev/{SHARE}").is_symlink()
    assert holds.holders() == {("dev", SHARE): "one", ("dev", SHARE[::-1]): "two"}
    assert holds.take("dev", OTHER, "one") == "one"  # one claim may have several
    holds.release("dev", SHARE, "one")
    assert holds.holders() == {("dev", SHARE[::-1]): "two", ("dev", OTHER): "one"}


def test_a_share_keeps_away_who_wants_all_of_the_device(holds: FileHolds, tmp_path: Path) -> None:
    holds.take("dev", SHARE, "one")
    assert holds.take("dev", None, "two") == "one"
    holds.release("dev", None, "one")  # it never had all of it
    assert holds.holders() == {("dev", SHARE): "one"}
    holds.release("dev", SHARE, "two")
    assert holds.take("dev", None, "two") == "one"
    holds.release("dev", SHARE, "one")
    assert list((tmp_path / "held").iterdir()) == []
    assert holds.take("dev", None, "two") == "two"


def test_who_has_all_of_a_device_keeps_shares_away(holds: FileHolds, tmp_path: Path) -> None:
    holds.take("dev", None, "one")
    assert holds.take("dev", SHARE, "two") == "one"
    holds.release("dev", SHARE, "one")  # it has no share
    assert holds.holders() == {("dev", None): "one"}
    assert [path.name for path in (tmp_path / "held").iterdir()] == ["dev"]


def test_no_claim_has_both(holds: FileHolds) -> None:
    holds.take("dev", None, "one")
    with pytest.raises(StateError, match="uid one cannot have a share of dev and all of it"):
        holds.take("dev", SHARE, "one")
    holds.release("dev", None, "one")
    holds.take("dev", SHARE, "one")
    with pytest.raises(StateError, match="uid one cannot have a share of dev and all of it"):
        holds.take("dev", None, "one")
    holds.take("dev", OTHER, "two")
    assert holds.take("dev", None, "one") == "two"


def test_a_folder_of_shares_is_never_looked_for_behind_a_link(holds: FileHolds) -> None:
    """Not even if a claim's UID is the name of a device."""
    holds.take("uid", SHARE, "other")
    holds.take("dev", None, "uid")
    assert holds.take("dev", OTHER, "two") == "uid"
    holds.release("dev", SHARE, "other")
    assert holds.holders() == {("uid", SHARE): "other", ("dev", None): "uid"}


def test_a_folder_that_a_crash_left_empty_keeps_nobody_away(holds: FileHolds, tmp_path: Path) -> None:
    place = tmp_path / "held/dev"
    place.mkdir()
    assert holds.holders() == {}
    assert holds.take("dev", SHARE, "one") == "one"
    holds.release("dev", SHARE, "one")
    place.mkdir()
    assert holds.take("dev", None, "one") == "one"
    assert place.is_symlink()


def test_tidying_removes_empty_folders_only(holds: FileHolds, tmp_path: Path) -> None:
    holds.take("whole", None, "one")
    holds.take("shared", SHARE, "one")
    (tmp_path / "held/left").mkdir()
    holds.tidy()
    assert sorted(path.name for path in (tmp_path / "held").iterdir()) == ["shared", "whole"]


def test_only_folders_that_are_empty_for_long_are_told(holds: FileHolds, tmp_path: Path) -> None:
    """One that is just being filled, or emptied, is nobody's fault."""
    holds.take("shared", SHARE, "one")
    for name in ("young", "old"):
        (tmp_path / "held" / name).mkdir()
    for name in ("old", "shared"):
        os.utime(tmp_path / "held" / name, (1, 1))
    assert holds.emptied() == ("old",)


def test_what_is_no_hold_is_told_wherever_it_is(holds: FileHolds, tmp_path: Path) -> None:
    holds.take("dev", SHARE, "one")
    (tmp_path / "held/notes").write_text("x")
    (tmp_path / "held/dev/notes").write_text("x")
    assert holds.strays() == (f"{tmp_path}/held/dev/notes", f"{tmp_path}/held/notes")
    assert holds.holders() == {("dev", SHARE): "one"}
    with pytest.raises(StateError, match=r"cannot hold .*/held/dev: Invalid argument"):
        holds.take("dev", None, "two")


def take_and_release(holds: FileHolds, share: str | None, uid: str) -> None:
    assert holds.take("dev", share, uid) == uid
    holds.release("dev", share, uid)


@pytest.mark.parametrize("share", [None, SHARE])
@pytest.mark.parametrize("then", [None, SHARE, OTHER])
def test_killed_at_any_change_the_device_can_be_had_by_others_once_the_claim_lets_go(
    tmp_path: Path, share: str | None, then: str | None
) -> None:
    for life in lives():
        holds = FileHolds(tmp_path / f"held-{life.at}")
        life.dies(take_and_release, holds, share, "one")
        again = FileHolds(tmp_path / f"held-{life.at}")
        assert set(again.holders().items()) <= {(("dev", share), "one")}
        again.release("dev", share, "one")
        assert again.take("dev", then, "two") == "two"
        again.release("dev", then, "two")
        again.tidy()
        assert list((tmp_path / f"held-{life.at}").iterdir()) == []


@pytest.mark.parametrize("mine", [None, SHARE])
@pytest.mark.parametrize("theirs", [None, SHARE, OTHER])
@pytest.mark.parametrize("before", [(), (OTHER,)])
@pytest.mark.parametrize("stays", [True, False])
def test_whoever_comes_between_any_two_changes_one_of_both_is_told_of_the_other(
    tmp_path: Path,
    mine: str | None,
    theirs: str | None,
    before: tuple[str, ...],
    stays: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    for at in range(1, 10):
        holds = FileHolds(tmp_path / f"held-{at}")
        said = list[str]()
        for share in before:
            holds.take("dev", share, "first")

        def visit(holds: FileHolds = holds, said: list[str] = said) -> None:
            holds.tidy()
            said.append(holds.take("dev", theirs, "visitor"))
            if not stays:
                holds.release("dev", theirs, "visitor")
            for share in before:
                holds.release("dev", share, "first")

        with Meeting(at, visit).lived():
            won = holds.take("dev", mine, "one")
            holders = holds.holders()
            if won == "one":
                assert holders["dev", mine] == "one"
                assert None not in {share for _, share in holders} or len(holders) == 1
            else:
                assert won in ("visitor", "first")
            holds.release("dev", mine, "one")
        if said and stays and said[0] == "visitor":
            assert holds.holders() == {("dev", theirs): "visitor"}


def test_who_wants_all_and_who_wants_a_share_race_and_never_have_it_at_once(holds: FileHolds) -> None:
    """Two instances of the driver: each has an object of its own."""
    whole, shared = set[str](), set[str]()

    def cycle(uid: str, share: str | None) -> int:
        mine, has, won = FileHolds(holds._folder), shared if share else whole, 0
        end = time.monotonic() + 60
        while won < 20 and time.monotonic() < end:
            if mine.take("dev", share, uid) == uid:
                has.add(uid)
                assert not whole or not shared
                assert len(whole) <= 1
                won += 1
                has.discard(uid)
                mine.release("dev", share, uid)
        return won

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(cycle, "abcd", (None, None, SHARE, OTHER))) == [20] * 4
    assert holds.holders() == {}
    assert holds.take("dev", None, "one") == "one"


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
    holds.take("b", OTHER, "two")
    assert sorted(holds.release_all("one")) == ["a", f"b@{SHARE}"]
    assert holds.holders() == {("c", None): "two", ("b", OTHER): "two"}


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
