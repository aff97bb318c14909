"""Records as files: what is written is read back, and nothing damaged is taken for good."""

from __future__ import annotations

import errno
import stat
from dataclasses import replace
from pathlib import Path

import pytest
from dra_common.errors import CorruptRecord, StateError
from dra_common.model import ClaimRecord, Phase, Plan
from dra_common.records import FileRecords
from mortal import Life, lives
from recorded import RECORD, REF


@pytest.fixture
def records(tmp_path: Path) -> FileRecords:
    return FileRecords(tmp_path / "claims")


def test_a_record_is_read_back_as_it_was_saved(records: FileRecords) -> None:
    records.save(RECORD)
    assert records.load("uid-1") == RECORD
    assert records.exists("uid-1")
    assert records.uids() == ("uid-1",)


def test_a_record_that_was_never_saved_is_none(records: FileRecords) -> None:
    assert records.load("uid-1") is None
    assert not records.exists("uid-1")
    records.delete("uid-1")


@pytest.mark.parametrize(
    ("phase", "first", "later"),
    [
        (Phase.PREPARED, ["uid-1.json.tmp", "claims"], ["uid-1.json.tmp", "claims"]),
        (Phase.FAILED, ["uid-1.json.tmp", "claims"], ["uid-1.json.tmp", "claims"]),
        (Phase.PREPARING, [], ["uid-1.json.tmp"]),
        (Phase.UNPREPARING, [], ["uid-1.json.tmp"]),
    ],
)
def test_only_what_a_claim_has_come_to_is_waited_for_until_it_is_on_the_disk(
    records: FileRecords, synced: list[str], phase: Phase, first: list[str], later: list[str]
) -> None:
    """A step under way may be lost to a power cut, but not what a claim had come to before it."""
    records.save(replace(RECORD, phase=phase))
    assert synced == first
    synced.clear()
    records.save(replace(RECORD, phase=phase))
    assert synced == later
    assert records.load("uid-1") == replace(RECORD, phase=phase)


def test_files_are_for_the_owner_only(records: FileRecords, tmp_path: Path) -> None:
    records.save(RECORD)
    assert stat.S_IMODE((tmp_path / "claims/uid-1.json").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "claims").stat().st_mode) == 0o700


def test_delete_removes_what_an_interrupted_save_left(records: FileRecords, tmp_path: Path) -> None:
    (tmp_path / "claims/uid-1.json.tmp").write_text("{")
    assert records.unfinished_uids() == {"uid-1"}
    assert records.uids() == ()
    records.delete("uid-1")
    assert list((tmp_path / "claims").iterdir()) == []


def test_a_record_under_another_claims_name_is_corrupt(records: FileRecords, tmp_path: Path) -> None:
    records.save(RECORD)
    (tmp_path / "claims/uid-1.json").rename(tmp_path / "claims/uid-2.json")
    with pytest.raises(CorruptRecord, match="belongs to another claim, uid-1"):
        records.load("uid-2")


def test_set_aside_keeps_the_bytes_under_new_names(records: FileRecords, tmp_path: Path) -> None:
    path = tmp_path / "claims/uid-1.json"
    for number in (1, 2):
        path.write_bytes(b"bad %d" % number)
        assert records.set_aside("uid-1") == f"uid-1.json.corrupt-{number}"
    assert (tmp_path / "claims/uid-1.json.corrupt-1").read_bytes() == b"bad 1"
    assert records.set_aside_uids() == {"uid-1"}
    assert records.uids() == ()
    records.forget_set_aside("uid-1")
    assert list((tmp_path / "claims").iterdir()) == []


@pytest.mark.defect(12)
def test_a_failed_save_keeps_the_old_record_and_no_temporary_file(
    records: FileRecords, tmp_path: Path
) -> None:
    records.save(RECORD)
    full = Life(1, lambda: OSError(errno.ENOSPC, "No space left"), when=lambda call: "fsync" in call)
    with full.lived(), pytest.raises(StateError, match=r"cannot write .*uid-1\.json.*free space"):
        records.save(ClaimRecord(REF, Phase.FAILED, "boot", Plan()))
    assert records.load("uid-1") == RECORD
    assert [each.name for each in (tmp_path / "claims").iterdir()] == ["uid-1.json"]


def test_a_link_in_place_of_the_temporary_file_is_replaced_never_followed(
    records: FileRecords, tmp_path: Path
) -> None:
    target = tmp_path / "precious"
    target.write_text("keep")
    (tmp_path / "claims/uid-1.json.tmp").symlink_to(target)
    records.save(RECORD)
    assert records.load("uid-1") == RECORD
    assert target.read_text() == "keep"


@pytest.mark.parametrize("uid", ["", "..", "../x", "/etc/passwd", "a/b", "a b", "a\n", "x" * 129])
def test_what_is_no_uid_never_becomes_a_path(records: FileRecords, uid: str) -> None:
    for call in (records.load, records.exists, records.delete, records.set_aside, records.forget_set_aside):
        with pytest.raises(StateError, match="is not a claim's UID"):
            call(uid)


def test_a_missing_folder_is_a_clear_error(records: FileRecords, tmp_path: Path) -> None:
    (tmp_path / "claims").rmdir()
    with pytest.raises(StateError, match="claims") as caught:
        records.save(RECORD)
    assert "restart the driver" in caught.value.cure
    with pytest.raises(StateError, match="cannot list"):
        records.uids()


def test_forgetting_what_was_set_aside_may_be_cut_short_anywhere(
    records: FileRecords, tmp_path: Path
) -> None:
    for life in lives(20):
        for data in (b"1", b"2", b"3"):
            (tmp_path / "claims/uid-1.json").write_bytes(data)
            records.set_aside("uid-1")
        life.dies(records.forget_set_aside, "uid-1")
        records.forget_set_aside("uid-1")
        assert list((tmp_path / "claims").iterdir()) == [], f"call {life.at}"


def test_what_was_set_aside_can_be_read_and_put_back(records: FileRecords, tmp_path: Path) -> None:
    path = tmp_path / "claims/uid-1.json"
    path.write_bytes(b"bad")
    records.set_aside("uid-1")
    records.save(RECORD)
    records.set_aside("uid-1")
    found = records.read_set_aside("uid-1")
    assert list(found) == ["uid-1.json.corrupt-1", "uid-1.json.corrupt-2"]
    assert isinstance(found["uid-1.json.corrupt-1"], CorruptRecord)
    assert found["uid-1.json.corrupt-2"] == RECORD
    records.restore("uid-1", "uid-1.json.corrupt-2")
    assert records.load("uid-1") == RECORD
    assert list(records.read_set_aside("uid-1")) == ["uid-1.json.corrupt-1"]
    assert records.read_set_aside("uid-2") == {}


def test_what_an_interrupted_save_left_is_dropped_and_the_record_stays(
    records: FileRecords, tmp_path: Path
) -> None:
    records.save(RECORD)
    (tmp_path / "claims/uid-1.json.tmp").write_text("{")
    records.drop_unfinished("uid-1")
    assert [path.name for path in (tmp_path / "claims").iterdir()] == ["uid-1.json"]


def test_strays_are_what_we_never_write(records: FileRecords, tmp_path: Path) -> None:
    folder = tmp_path / "claims"
    for name in ("uid-1.json", "uid-1.lock", "uid-1.json.tmp", "uid-1.json.corrupt-12"):
        (folder / name).touch()
    strays = ("a.b.json", "notes.txt", "uid-1.json.corrupt-x", "uid-1.json~", "x y.json")
    for name in strays:
        (folder / name).touch()
    assert records.strays() == tuple(str(folder / name) for name in sorted(strays))
