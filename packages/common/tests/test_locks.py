"""Locks between threads and between processes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from dra_common.deadline import Deadline
from dra_common.errors import LockTimeout, StateError
from dra_common.locks import FileLocks

OTHER_PROCESS = """
import sys
from pathlib import Path
from dra_common.deadline import Deadline
from dra_common.locks import FileLocks
locks = FileLocks(Path(sys.argv[1]), Path(sys.argv[2]))
with locks.claim("uid", Deadline.after(60)):
    print("locked", flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def locks(tmp_path: Path) -> FileLocks:
    return FileLocks(tmp_path / "claims", tmp_path / "hardware")


@contextmanager
def another_process(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", OTHER_PROCESS, str(tmp_path / "claims"), str(tmp_path / "hardware")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "locked\n"
        yield process
        process.kill()


def soon() -> Deadline:
    return Deadline.after(60)


def passed() -> Deadline:
    return Deadline.after(0)


def test_threads_exclude_each_other(locks: FileLocks) -> None:
    inside, most = 0, 0

    def work(_: int) -> None:
        nonlocal inside, most
        with locks.claim("uid", soon()):
            inside += 1
            most = max(most, inside)
            inside -= 1

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(200)))
    assert most == 1


def test_one_call_gives_up_at_its_deadline(locks: FileLocks) -> None:
    with locks.claim("uid", soon()), pytest.raises(LockTimeout, match="claim uid is still locked"):
        locks.claim("uid", passed()).__enter__()
    with locks.claim("uid", passed()):
        pass


def test_try_claim_tells_whether_it_got_the_lock(locks: FileLocks) -> None:
    with locks.try_claim("uid") as first, locks.try_claim("uid") as second:
        assert (first, second) == (True, False)
    with locks.try_claim("uid") as again:
        assert again


@pytest.mark.scenario(58)
def test_a_process_excludes_us_and_its_death_lets_us_in(locks: FileLocks, tmp_path: Path) -> None:
    with another_process(tmp_path) as process:
        with pytest.raises(LockTimeout):
            locks.claim("uid", passed()).__enter__()
        process.kill()
        with locks.claim("uid", soon()):
            pass


def test_a_removed_lock_file_is_not_a_lock(locks: FileLocks, tmp_path: Path) -> None:
    """Whoever waited on a file that went with its claim must lock the new file, or two would be inside."""
    waited = []

    def wait() -> None:
        with locks.claim("uid", soon()):
            waited.append((tmp_path / "claims/uid.lock").exists())

    with ThreadPoolExecutor(4) as pool:
        with locks.claim("uid", soon()):
            calls = [pool.submit(wait) for _ in range(4)]
            locks.forget_claim("uid")
        for call in calls:
            call.result()
    assert waited == [True] * 4


def test_parents_are_taken_in_one_order_whatever_is_asked(locks: FileLocks) -> None:
    """Two claims that need the same two parents never wait for each other for ever."""

    def work(number: int) -> None:
        names = ["b", "a", "a"] if number % 2 else ["a", "b"]
        with locks.parents(names, soon()):
            pass

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(200)))


def test_a_parent_that_is_taken_is_named_and_the_others_are_let_go(locks: FileLocks) -> None:
    with locks.parents(["b"], soon()), pytest.raises(LockTimeout, match="hardware b is still locked"):
        locks.parents(["a", "b"], passed()).__enter__()
    with locks.parents(["a", "b"], passed()):
        pass


def test_lock_files_of_claims_are_listed(locks: FileLocks) -> None:
    with locks.claim("x", soon()):
        assert locks.claim_uids() == {"x"}
        locks.forget_claim("x")
        locks.forget_claim("x")
    assert locks.claim_uids() == frozenset()


def test_a_folder_that_is_gone_is_a_clear_error(locks: FileLocks, tmp_path: Path) -> None:
    (tmp_path / "claims").rmdir()
    with pytest.raises(StateError, match="cannot lock"):
        locks.claim("uid", soon()).__enter__()


def test_a_link_in_place_of_a_lock_file_is_refused(locks: FileLocks, tmp_path: Path) -> None:
    """A lock file is never opened through a link that somebody else made."""
    target = tmp_path / "precious"
    target.write_text("keep")
    (tmp_path / "claims/uid.lock").symlink_to(target)
    with pytest.raises(StateError, match="cannot lock"):
        locks.claim("uid", soon()).__enter__()
    assert target.read_text() == "keep"


# --------------------------------------------------------------------------- looking


def test_a_look_keeps_others_away_and_two_looks_do_not(locks: FileLocks) -> None:
    with locks.claim("uid", soon()):
        pass
    with locks.try_shared("uid") as first, locks.try_shared("uid") as second:
        with locks.try_claim("uid") as taken:
            assert not taken
        assert first()
        assert second()
    with locks.try_claim("uid") as taken:
        assert taken


def test_a_look_at_a_claim_that_another_process_works_on_is_worth_nothing(
    locks: FileLocks, tmp_path: Path
) -> None:
    with another_process(tmp_path), locks.try_shared("uid") as undisturbed:
        assert not undisturbed()


def test_a_look_makes_no_file_and_notices_who_comes_meanwhile(locks: FileLocks, tmp_path: Path) -> None:
    with locks.try_shared("uid") as undisturbed:
        assert undisturbed()
        assert list((tmp_path / "claims").iterdir()) == []
        with locks.claim("uid", soon()):
            assert not undisturbed()


def test_a_look_notices_that_the_claim_went_and_came(locks: FileLocks, tmp_path: Path) -> None:
    (tmp_path / "claims/uid.lock").touch()
    with locks.try_shared("uid") as undisturbed:
        (tmp_path / "claims/uid.lock").unlink()
        assert not undisturbed()
        (tmp_path / "claims/uid.lock").touch()
        assert not undisturbed()


def test_a_look_at_a_link_in_place_of_the_lock_is_an_error(locks: FileLocks, tmp_path: Path) -> None:
    (tmp_path / "claims/uid.lock").symlink_to(tmp_path)
    with pytest.raises(StateError, match=r"cannot lock .*uid\.lock"), locks.try_shared("uid"):
        pytest.fail("it was followed")
