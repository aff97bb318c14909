"""The demo as a process of its own, playing the stories of a made-up driver package (``played/knob_driver``)."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from demo_process import Demo, demos

STORIES = "true, false, refused, unfit, bug, endless"


@pytest.fixture
def demo() -> Iterator[Demo]:
    """The demo with the made-up driver installed."""
    with demos(Path(__file__).parent / "played") as demo:
        yield demo


def play(demo: Demo, *arguments: str) -> tuple[int, str, str]:
    return demo.play("--driver=knob", *arguments)


def start(demo: Demo, *arguments: str) -> subprocess.Popen[str]:
    return demo.start("--driver=knob", *arguments)


def events(out: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.splitlines()]


# ---------------------------------------------------------------------- what is told


def test_a_true_story_is_told_and_counted(demo: Demo) -> None:
    code, out, err = play(demo, "--story=true")
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
    demo.nothing_left()


def test_json_is_one_event_a_line_with_step_and_time(demo: Demo) -> None:
    code, out, err = play(demo, "--story=true", "--json")
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
    demo.nothing_left()


# ---------------------------------------------------------------------- what is not true


def test_a_false_statement_ends_the_story_and_the_exit_code_says_so(demo: Demo) -> None:
    code, out, err = play(demo, "--story=false")
    assert (code, err) == (1, "")
    assert "   ✗ water is dry\n\nNOT TRUE: water is dry; found: 'wet'\n" in out
    assert "never said" not in out
    assert "are true" not in out
    demo.nothing_left()


def test_a_false_statement_as_json(demo: Demo) -> None:
    code, out, _ = play(demo, "--story=false", "--json")
    assert code == 1
    *_, wrong, end = events(out)
    assert (wrong["event"], wrong["statement"], wrong["ok"]) == ("check", "water is dry", False)
    assert (end["event"], end["ok"], end["checked"]) == ("end", False, 1)
    assert end["why"] == "water is dry; found: 'wet'"
    demo.nothing_left()


def test_a_call_that_fails_is_not_true_either(demo: Demo) -> None:
    code, out, err = play(demo, "--story=refused")
    assert (code, err) == (1, "")
    assert "NOT TRUE: device a: no water\n" in out
    demo.nothing_left()


def test_a_machine_that_the_story_does_not_fit_is_one_line_without_a_log(demo: Demo) -> None:
    code, out, err = play(demo, "--story=unfit")
    assert (code, err) == (1, "")
    why = "this story needs a sea: choose another with --profile"
    assert out.endswith(f"\n1. Water\n\nNOT TOLD: {why}\n")
    code, out, err = play(demo, "--story=unfit", "--json")
    assert (code, err) == (1, "")
    end = events(out)[-1]
    assert (end["event"], end["ok"], end["why"]) == ("end", False, why)
    demo.nothing_left()


def test_a_bug_in_a_story_is_a_traceback_and_nothing_is_left(demo: Demo) -> None:
    code, out, err = play(demo, "--story=bug")
    assert code == 1
    assert "KeyError: 'water'" in err
    assert "are true" not in out
    demo.nothing_left()


def test_without_a_name_it_is_the_drivers_first_story(demo: Demo) -> None:
    code, out, err = play(demo)
    assert (code, err) == (0, "")
    assert out.startswith("   The true story\n")


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
def test_bad_usage_is_one_line_and_exit_code_2(demo: Demo, arguments: list[str], says: str) -> None:
    code, out, err = play(demo, *arguments)
    assert (code, out) == (2, "")
    assert err.count("\n") == 1, err
    assert err.startswith("demo: ")
    assert err.endswith("; see --help\n")
    assert says in err
    demo.nothing_left()


def test_the_drivers_that_can_be_asked_for_are_named(demo: Demo) -> None:
    _, _, err = play(demo, "--driver=nope")
    known = err.partition("(there are: ")[2].partition(")")[0].split(", ")
    assert "knob" in known
    assert known == sorted(known)


def test_help(demo: Demo) -> None:
    code, out, err = play(demo, "--help")
    assert (code, err) == (0, "")
    for option in ("--driver", "--story", "--profile", "--json"):
        assert option in out


# ---------------------------------------------------------------------- stopped


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_it_without_a_word_and_nothing_is_left(demo: Demo, number: signal.Signals) -> None:
    process = start(demo, "--story=endless", "--json")
    assert process.stdout is not None
    until(process, "Water")
    assert demo.processes(), "the simulated machine is a process"
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (128 + number, "")
    demo.nothing_left()


def test_impatience_does_not_keep_it_from_cleaning_up(demo: Demo) -> None:
    process = start(demo, "--story=endless", "--json")
    until(process, "Water")
    while process.poll() is None:
        process.send_signal(signal.SIGINT)
    assert (process.returncode, process.communicate()[1]) == (130, "")
    demo.nothing_left()


def test_a_reader_that_goes_away_ends_it_quietly(demo: Demo) -> None:
    process = start(demo, "--story=true", "--json")
    assert process.stdout is not None
    process.stdout.close()
    process.wait(60)
    assert process.stderr is not None
    assert (process.returncode, process.stderr.read()) == (1, "")
    process.stderr.close()
    demo.nothing_left()


def until(process: subprocess.Popen[str], title: str) -> None:
    """Read what is told until the step of that title."""
    assert process.stdout is not None
    for line in process.stdout:
        if json.loads(line).get("title") == title:
            return
    pytest.fail(f"step {title} was never reached")
