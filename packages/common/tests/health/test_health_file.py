"""Health from a file: read when it changes, and never trusted to be well-formed."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from dra_common.health import FileSource
from dra_common.health.file import LONGEST, BadHealthFile, parse
from dra_common.model import Finding, Severity
from dra_common.ports import Report
from dra_common.testing.waiting import wait_until

BAD_GPU = """
- device: 0000:03:00.0
  severity: critical
  what: memory
  message: 3 errors since noon
"""
FOUND = {"0000:03:00.0": (Finding("memory", Severity.CRITICAL, "3 errors since noon"),)}

Start = Callable[[], FileSource]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "health.yaml"


@pytest.fixture
def rings() -> list[str]:
    return []


@pytest.fixture
def start(path: Path, rings: list[str]) -> Iterator[Start]:
    sources: list[FileSource] = []

    def make() -> FileSource:
        source = FileSource(path, every=0.01)
        sources.append(source)
        source.start(lambda: rings.append("changed"))
        return source

    yield make
    for source in sources:
        source.stop()
        source.stop()


def said(source: FileSource) -> Report:
    report = source.report()
    assert report is not None
    return report


def test_json_and_yaml_say_the_same() -> None:
    entry = {
        "device": "0000:03:00.0",
        "severity": "critical",
        "what": "memory",
        "message": "3 errors since noon",
    }
    assert parse(json.dumps([entry]).encode()) == parse(BAD_GPU.encode()) == Report(FOUND)


@pytest.mark.parametrize("data", [b"", b"[]", b"\n", b"# nothing\n"])
def test_an_empty_file_says_nothing(data: bytes) -> None:
    assert parse(data) == Report()


def test_entries_of_one_device_are_gathered_under_a_name_in_lower_case() -> None:
    report = parse(
        b"- {device: 0000:3A:00.0, severity: ok}\n- {device: 0000:3a:00.0, severity: failed, what: fan}\n"
    )
    assert report.findings == {
        "0000:3a:00.0": (Finding("file", Severity.OK), Finding("fan", Severity.FAILED)),
    }


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"- {device: a}", "0.severity: Field required"),
        (
            b"- {device: a, severity: bad}",
            "0.severity: Input should be 'ok', 'warning', 'critical' or 'failed'",
        ),
        (b"- {device: '', severity: ok}", "0.device"),
        (b"- {device: a, severity: ok, colour: red}", "0.colour: Extra inputs"),
        (b"- {device: a, severity: ok, what: ' '}", "0.what"),
        (b"device: a\nseverity: ok\n", "the file: Input should be a valid list"),
        (b"- {device: a, severity: ok", "not YAML"),
        (b"\xff\xfe\x00", "not YAML"),
        (b"[" * 100_000, "not YAML"),
        (b'[{"device": 1, "severity": "ok"}]', "0.device: Input should be a valid string"),
    ],
)
def test_what_is_wrong_is_told_in_a_line(data: bytes, why: str) -> None:
    with pytest.raises(BadHealthFile) as caught:
        parse(data)
    assert why in str(caught.value)
    assert "\n" not in str(caught.value)


def test_it_is_read_at_once_and_whenever_it_is_another_one(
    path: Path, start: Start, rings: list[str]
) -> None:
    path.write_text(BAD_GPU)
    source = start()
    assert said(source) == Report(FOUND)
    assert rings == []
    fresh = path.with_name("fresh")
    fresh.write_text("[]")
    fresh.rename(path)
    wait_until(lambda: said(source) == Report(), "the file to be read again")
    path.write_text(BAD_GPU)
    wait_until(lambda: said(source) == Report(FOUND), "the file to be read again")
    path.unlink()
    wait_until(lambda: said(source) == Report(), "the file to be missed")
    wait_until(lambda: len(rings) >= 3, "a ring for each change")


def test_a_mounted_configmap_changes_by_a_link(tmp_path: Path, path: Path, start: Start) -> None:
    for name, text in (("v1", BAD_GPU), ("v2", "[]")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "health.yaml").write_text(text)
    data = tmp_path / "..data"
    data.symlink_to("v1")
    path.symlink_to("..data/health.yaml")
    source = start()
    assert said(source) == Report(FOUND)
    new = tmp_path / "..data_tmp"
    new.symlink_to("v2")
    new.rename(data)
    wait_until(lambda: said(source) == Report(), "the file to be read again")


def test_a_file_that_makes_no_sense_keeps_what_was_known_and_is_away(path: Path, start: Start) -> None:
    path.write_text(BAD_GPU)
    source = start()
    path.write_text("- {device: a, severity: dreadful}")
    wait_until(lambda: said(source).away, "the file to be read again")
    assert said(source).findings == FOUND
    assert said(source).away.startswith(f"{path}: 0.severity: ")
    path.write_text("[]")
    wait_until(lambda: said(source) == Report(), "the file to be read again")


@pytest.mark.parametrize("kind", ["folder", "pipe", "long"])
def test_what_is_no_file_or_too_long_is_away_and_blocks_nobody(path: Path, start: Start, kind: str) -> None:
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.write_bytes(b"#" * (LONGEST + 1))
    source = start()
    assert said(source).findings == {}
    assert "is not a regular file" in said(source).away or "is longer than" in said(source).away


def test_a_stop_ends_its_thread(path: Path) -> None:
    before = threading.active_count()
    source = FileSource(path)
    source.start(lambda: None)
    source.stop()
    assert threading.active_count() == before
    FileSource(path).stop()
