"""A configuration file is read whole and strictly, or refused with its line."""

from __future__ import annotations

from pathlib import Path

import pytest
from dra_common.errors import SettingsError
from dra_common.policy import effective
from dra_common.policy_file import read_policy
from dra_common.testing.knobs import KnobDriver, KnobPolicy, KnobRule

KIND = KnobDriver.policy_kind
HEAD = "apiVersion: config.knob.example.com/v1\nkind: KnobDriverConfig\n"
BEGIN = "(begin with `apiVersion: config.knob.example.com/v1` and `kind: KnobDriverConfig`)"


def refused(path: Path, text: str | None = None) -> str:
    assert KIND is not None
    if text is not None:
        path.write_text(text)
    with pytest.raises(SettingsError) as caught:
        read_policy(path, KIND)
    assert str(caught.value).startswith(f"configuration {path}: ")
    return str(caught.value).removeprefix(f"configuration {path}: ")


def test_a_file_becomes_the_policy_of_a_node(tmp_path: Path) -> None:
    assert KIND is not None
    path = tmp_path / "knobs.yaml"
    path.write_text(
        f"{HEAD}label: all\ndevices: [{{match: a, publish: false}}]\n"
        "nodes:\n  - {match: [n1, n2*], label: some, devices: [{match: [a, b], publish: true}]}\n"
    )
    read = read_policy(path, KIND)
    rule = KnobRule(match=("a",), publish=False)
    assert effective(KIND, read, "n3", {}) == KnobPolicy(label="all", devices=(rule,))
    again = KnobRule(match=("a", "b"), publish=True)
    assert effective(KIND, read, "n22", {}) == KnobPolicy(label="some", devices=(rule, again))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", f"is empty {BEGIN}"),
        ("label: x\n", f"line 1: apiVersion: is missing {BEGIN}"),
        ("apiVersion: v1\nkind: KnobDriverConfig\n", f"line 1: apiVersion: 'v1' is not read here {BEGIN}"),
        (HEAD.replace("KnobDriver", "Gpu"), f"line 2: kind: 'GpuConfig' is not read here {BEGIN}"),
        (f"{HEAD}labels: x\n", "line 3: labels: unknown field"),
        (f"{HEAD}label: 7\n", "line 3: label: Input should be a valid string, not 7"),
        (f"{HEAD}shout: yes\n", "line 3: shout: Input should be a valid boolean, not 'yes'"),
        (f"{HEAD}shout: 1\n", "line 3: shout: Input should be a valid boolean, not 1"),
        (f"{HEAD}api_version: v1\n", "line 3: api_version: unknown field"),
        (f"{HEAD}devices:\n  - publish: false\n", "line 4: devices.0.match: Field required"),
        (
            f"{HEAD}nodes:\n  - match: n\n    label: []\n",
            "line 5: nodes.0.label: Input should be a valid string",
        ),
        (f"{HEAD}nodes: [{{match: n, nodes: []}}]\n", "line 3: nodes.0.nodes: unknown field"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(tmp_path: Path, text: str, said: str) -> None:
    assert refused(tmp_path / "f.yaml", text) == said


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    assert (
        refused(tmp_path / "gone")
        == "cannot be read: No such file or directory (name a file with --config (CONFIG))"
    )
    assert refused(tmp_path).startswith("cannot be read: Is a directory")


def test_a_file_that_is_too_large(tmp_path: Path) -> None:
    assert refused(tmp_path / "f", HEAD + "#" * (1 << 20)) == "has more than 1048576 bytes"
