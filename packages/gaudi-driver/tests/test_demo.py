"""``make demo ARGS="--driver gaudi"``: the real program, from the first step of its story to the last."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from demo_process import Demo, demos

TRAINING = ("--driver=gaudi", "--story=training")
SHOWN = {
    "the real gaudi-driver": "all are connected with one another",
    "A pod wants eight connected Gaudis": "it has all 8 of them",
    "What its containers see": "each container has the nodes of its own Gaudis",
    "A monitor beside it": "no variable, no hook",
    "Somebody else wants one": "told the holder",
    "kill -9 in the middle": "all its ids mean what they did",
    "reports a critical error of one Gaudi": "its ResourceSlice says Unhealthy",
    "An administrator resets it": "claim again has all 8 now",
    "The claims end": "nothing is left",
}


@pytest.fixture
def demo() -> Iterator[Demo]:
    with demos() as demo:
        yield demo


def test_every_step_is_told_as_events_and_every_statement_is_true(demo: Demo) -> None:
    events = demo.told(SHOWN, *TRAINING)
    (containers,) = (
        event["rows"] for event in events if event["event"] == "table" and event["name"] == "containers"
    )
    variables = {row["VARIABLE"]: row for row in containers}
    both = variables["HABANA_VISIBLE_DEVICES"]["IN BOTH"].split(",")
    assert sorted(both) == list("01234567")
    assert variables["HABANA_VISIBLE_DEVICES"]["IN CHECKER"] == both[-1]
    assert variables["HABANA_VISIBLE_MODULES"]["IN BOTH"] == "0,1,2,3,4,5,6,7"


def test_the_story_fits_the_other_server(demo: Demo) -> None:
    code, out, err = demo.play("--driver=gaudi", "--profile=gaudi2-hls")
    assert (code, err) == (0, ""), out
    assert "✗" not in out
    end = out.rstrip().splitlines()[-1]
    assert end.startswith(f"All {out.count('✓')} statements above were checked and are true (")
    demo.nothing_left()


def test_a_server_without_a_whole_board_is_told_in_one_line(demo: Demo) -> None:
    code, out, err = demo.play(*TRAINING, "--profile=gaudi-missing-port")
    assert (code, err) == (1, "")
    why = "this story needs a board with 8 connected Gaudis, machine gaudi-missing-port has 3"
    assert out.rpartition("\n\n")[2] == f"NOT TOLD: {why}: choose another with --profile\n"
    demo.nothing_left()


def test_a_story_that_there_is_not_is_one_line_that_says_which_there_are(demo: Demo) -> None:
    code, out, err = demo.play("--driver=gaudi", "--story=nope")
    assert (code, out) == (2, "")
    assert "no story 'nope' of the gaudi driver (there are: training)" in err
