"""``make demo`` of the GPU driver: the real program, from the first step of its story to the last, and cut short."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from typing import Any

import pytest
from demo_process import Demo, demos

# What the story must show, as words of a step's title, and in that step: a statement, a table, a reason.
SHOWN = {
    "the real gpu-driver": "the kubelet has registered it",
    "What it published": "`gpu-driver devices` finds the same devices",
    "A claim that nothing satisfies": "claim impossible stays pending",
    "A claim by family": "the driver prepared just that",
    "A claim by memory": "the driver prepared just that",
    "A claim with two devices": "sees the card and render nodes of 2 GPUs, nothing else",
    "A claim for a device that is in use": "the driver refuses and names the holder",
    "SIGKILL in the middle of a prepare": "recovery has undone what was begun",
    "Unprepare everything": "is unprepared",
    "Nothing is left": "no record, hold, lock or CDI file on the node",
}


@pytest.fixture
def demo() -> Iterator[Demo]:
    with demos() as demo:
        yield demo


def test_every_step_is_told_as_events_and_every_statement_is_true(demo: Demo) -> None:
    _tables_are_those_of_the_machine(demo.told(SHOWN))


def _tables_are_those_of_the_machine(events: list[dict[str, Any]]) -> None:
    tables: dict[str, list[dict[str, str]]] = {}
    for event in events:
        if event["event"] == "table":
            tables.setdefault(event["name"], []).extend(event["rows"])
    assert [row["MODEL"] for row in tables["devices"]] == ["Flex 170", "B60"]
    nodes = [row["NAME"] for row in tables["container"] if row["CONTAINER GETS"] == "device node"]
    assert set(nodes) == {f"/dev/dri/{name}" for name in ("card1", "renderD128", "card2", "renderD129")}


def test_for_a_person_it_ends_with_how_many_statements_were_true(demo: Demo) -> None:
    code, out, err = demo.play()
    assert (code, err) == (0, "")
    assert "✗" not in out
    end = out.rstrip().splitlines()[-1]
    assert end.startswith(f"All {out.count('✓')} statements above were checked and are true (")
    demo.nothing_left()


def test_a_machine_with_too_few_gpus_is_told_in_one_line(demo: Demo) -> None:
    code, out, err = demo.play("--profile=empty")
    assert (code, err) == (1, "")
    why = "this story needs two GPUs on i915 or xe, machine empty has 0: choose another with --profile"
    assert out.rpartition("\n\n")[2] == f"NOT TOLD: {why}\n"
    demo.nothing_left()


@pytest.mark.parametrize("profile", ["flex-sriov", "desktop"])
def test_the_story_fits_other_machines(demo: Demo, profile: str) -> None:
    code, out, err = demo.play(f"--profile={profile}")
    assert (code, err) == (0, ""), out
    demo.nothing_left()


OTHER = {"vfio": "battlemage-pro", "vf": "battlemage-pro", "health": "desktop", "sharing": "desktop"}
"""A second machine that fits the story."""


@pytest.mark.parametrize(
    ("story", "profile"),
    [(story, profile) for story in OTHER for profile in ("two-gpus", OTHER[story])],
)
def test_the_other_stories_are_true(demo: Demo, story: str, profile: str) -> None:
    code, out, err = demo.play(f"--story={story}", f"--profile={profile}")
    assert (code, err) == (0, ""), out
    assert "✗" not in out
    demo.nothing_left()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--driver=nope"], "no driver 'nope' with stories is installed (there are: gaudi, gpu)"),
        (["--story=nope"], "no story 'nope' of the gpu driver (there are: claim"),
        (["--profile=nope"], "no profile 'nope' (one of battlemage-pro, "),
    ],
)
def test_what_there_is_not_is_one_line_that_says_what_there_is(
    demo: Demo, arguments: list[str], says: str
) -> None:
    code, out, err = demo.play(*arguments)
    assert (code, out) == (2, "")
    assert says in err
    assert err.count("\n") == 1
    demo.nothing_left()


@pytest.mark.parametrize(
    "moment",
    ["the real gpu-driver", "A claim by memory", "SIGKILL in the middle of a prepare", "Nothing is left"],
)
def test_ctrl_c_at_any_step_leaves_neither_files_nor_processes(demo: Demo, moment: str) -> None:
    process = demo.start("--json")
    assert process.stdout is not None
    for line in process.stdout:
        if moment in json.loads(line).get("title", ""):
            break
    assert demo.processes()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (130, "")
    demo.nothing_left()
