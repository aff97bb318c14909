"""The demo as a process of its own, playing the stories of a made-up driver package (``played/knob_driver``)."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from processes import processes_of

STORIES = "true, false, refused, unfit, bug, endless"

Play = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def play(short_tmp: Path) -> Play:
    """Start the demo with the made-up driver installed and all of its temporary files below ``short_tmp``."""
    path = os.pathsep.join([str(Path(__file__).parent / "played"), os.environ.get("PYTHONPATH", "")])

    def start(*arguments: str, driver: str = "knob") -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "dra_common.testing.demo", f"--driver={driver}", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": path, "TMPDIR": str(short_tmp), "COLUMNS": "80"},
        )

    return start


def ended(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=60)
    return process.returncode, out, err


def events(out: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.splitlines()]


def nothing_left(folder: Path) -> None:
    assert list(folder.iterdir()) == []
    assert processes_of(folder) == []


# ---------------------------------------------------------------------- what is told


def test_a_true_story_is_told_and_counted(play: Play, short_tmp: Path) -> None:
    code, out, err = ended(play("--story=true"))
    assert (code, err) == (0, "")
    *told, end = out.rstrip().splitlines()
    waited = told.index("   PLACE  WATER") + 3
    assert told[waited].startswith("   … the tide turns (")
    assert told[:waited] + told[waited + 1 :] == [
        "   The true story",
        "",
        "1. Water",
        "   Rivers have it.",
        "   So have seas.",
        "   ✓ water is wet",
        "   PLACE  WATER",
        "   river  sweet",
        "   sea    salt",
        "",
        "2. Fire",
        "   ✓ fire is hot",
        "",
    ]
    assert end.startswith("All 2 statements above were checked and are true (")
    nothing_left(short_tmp)


def test_json_is_one_event_a_line_with_step_and_time(play: Play, short_tmp: Path) -> None:
    code, out, err = ended(play("--story=true", "--json"))
    assert (code, err) == (0, "")
    told = events(out)
    seconds = [event.pop("seconds") for event in told]
    assert seconds == sorted(seconds)
    assert told[5].pop("took") >= 0
    assert told == [
        {"event": "say", "step": 0, "text": "The true story"},
        {"event": "step", "step": 1, "title": "Water"},
        {"event": "say", "step": 1, "text": "Rivers have it.\nSo have seas."},
        {"event": "check", "step": 1, "statement": "water is wet", "ok": True},
        {
            "event": "table",
            "step": 1,
            "name": "places",
            "rows": [{"PLACE": "river", "WATER": "sweet"}, {"PLACE": "sea", "WATER": "salt"}],
        },
        {"event": "waited", "step": 1, "what": "the tide turns"},
        {"event": "step", "step": 2, "title": "Fire"},
        {"event": "check", "step": 2, "statement": "fire is hot", "ok": True},
        {"event": "end", "step": 2, "checked": 2, "ok": True},
    ]
    nothing_left(short_tmp)


# ---------------------------------------------------------------------- what is not true


def test_a_false_statement_ends_the_story_and_the_exit_code_says_so(play: Play, short_tmp: Path) -> None:
    code, out, err = ended(play("--story=false"))
    assert (code, err) == (1, "")
    assert "   ✗ water is dry\n\nNOT TRUE: water is dry; found: 'wet'\n" in out
    assert "never said" not in out
    assert "are true" not in out
    nothing_left(short_tmp)


def test_a_false_statement_as_json(play: Play, short_tmp: Path) -> None:
    code, out, _ = ended(play("--story=false", "--json"))
    assert code == 1
    *_, wrong, end = events(out)
    assert (wrong["event"], wrong["statement"], wrong["ok"]) == ("check", "water is dry", False)
    assert (end["event"], end["ok"], end["checked"]) == ("end", False, 1)
    assert end["why"] == "water is dry; found: 'wet'"
    nothing_left(short_tmp)


def test_a_call_that_fails_is_not_true_either(play: Play, short_tmp: Path) -> None:
    code, out, err = ended(play("--story=refused"))
    assert (code, err) == (1, "")
    assert "NOT TRUE: device a: no water\n" in out
    nothing_left(short_tmp)


def test_a_machine_that_the_story_does_not_fit_is_one_line_without_a_log(play: Play, short_tmp: Path) -> None:
    code, out, err = ended(play("--story=unfit"))
    assert (code, err) == (1, "")
    why = "this story needs a sea: choose another with --profile"
    assert out.endswith(f"\n1. Water\n\nNOT TOLD: {why}\n")
    code, out, err = ended(play("--story=unfit", "--json"))
    assert (code, err) == (1, "")
    end = events(out)[-1]
    assert (end["event"], end["ok"], end["why"]) == ("end", False, why)
    nothing_left(short_tmp)


def test_a_bug_in_a_story_is_a_traceback_and_nothing_is_left(play: Play, short_tmp: Path) -> None:
    code, out, err = ended(play("--story=bug"))
    assert code == 1
    assert "KeyError: 'water'" in err
    assert "are true" not in out
    nothing_left(short_tmp)


# ---------------------------------------------------------------------- bad usage


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--story=nope"], f"no story 'nope' of the knob driver (there are: {STORIES})"),
        (["--driver=nope"], "no driver 'nope' with stories is installed (there are: "),
        (["--driver=../x"], "no driver '../x' with stories is installed (there are: "),
        (["--driver="], "no driver '' with stories is installed (there are: "),
        (["--story=true", "--profile=nope"], "no profile 'nope' (one of bare, or the path of a YAML file)"),
        (["--story=true", "--profile=/nowhere.yaml"], "/nowhere.yaml"),
        (["--bogus"], "unrecognized arguments: --bogus"),
        (["extra"], "unrecognized arguments: extra"),
    ],
)
def test_bad_usage_is_one_line_and_exit_code_2(
    play: Play, short_tmp: Path, arguments: list[str], says: str
) -> None:
    code, out, err = ended(play(*arguments))
    assert (code, out) == (2, "")
    assert err.count("\n") == 1, err
    assert err.startswith("demo: ")
    assert err.endswith("; see --help\n")
    assert says in err
    nothing_left(short_tmp)


def test_the_drivers_that_can_be_asked_for_are_named(play: Play) -> None:
    _, _, err = ended(play(driver="nope"))
    known = err.partition("(there are: ")[2].partition(")")[0].split(", ")
    assert "knob" in known
    assert known == sorted(known)


def test_help(play: Play) -> None:
    code, out, err = ended(play("--help"))
    assert (code, err) == (0, "")
    for option in ("--driver", "--story", "--profile", "--json"):
        assert option in out


# ---------------------------------------------------------------------- stopped


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_it_without_a_word_and_nothing_is_left(
    play: Play, short_tmp: Path, number: signal.Signals
) -> None:
    process = play("--story=endless", "--json")
    assert process.stdout is not None
    until(process, "Water")
    assert processes_of(short_tmp), "the simulated machine is a process"
    process.send_signal(number)
    code, _, err = ended(process)
    assert (code, err) == (128 + number, "")
    nothing_left(short_tmp)


def test_impatience_does_not_keep_it_from_cleaning_up(play: Play, short_tmp: Path) -> None:
    process = play("--story=endless", "--json")
    until(process, "Water")
    while process.poll() is None:
        process.send_signal(signal.SIGINT)
    assert (process.returncode, process.communicate()[1]) == (130, "")
    nothing_left(short_tmp)


def test_a_reader_that_goes_away_ends_it_quietly(play: Play, short_tmp: Path) -> None:
    process = play("--story=true", "--json")
    assert process.stdout is not None
    process.stdout.close()
    process.wait(60)
    assert process.stderr is not None
    assert (process.returncode, process.stderr.read()) == (1, "")
    process.stderr.close()
    nothing_left(short_tmp)


def until(process: subprocess.Popen[str], title: str) -> None:
    """Read what is told until the step of that title."""
    assert process.stdout is not None
    for line in process.stdout:
        if json.loads(line).get("title") == title:
            return
    pytest.fail(f"step {title} was never reached")
