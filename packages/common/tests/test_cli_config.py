"""``--config``, a driver's own flags, and ``config``, on a made-up accelerator."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jsonschema
import pytest
from dra_common import app
from dra_common.cli import main
from dra_common.definition import Definition
from dra_common.settings import Settings
from dra_common.simulate import Simulation
from dra_common.testing.knobs import KnobDriver, KnobPolicy

HEAD = "apiVersion: config.knob.example.com/v1\nkind: KnobDriverConfig\n"


class Said(NamedTuple):
    code: int
    out: str
    err: str


Run = Callable[..., Said]


@pytest.fixture
def driver() -> KnobDriver:
    return KnobDriver()


@pytest.fixture
def cli(driver: KnobDriver, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    for name in ("NODE_NAME", "CONFIG", "LABEL", "SHOUT"):
        monkeypatch.delenv(name, raising=False)

    def run(*arguments: str) -> Said:
        definition = Definition("knob-driver", "dra-common", "Turns knobs.", driver, lambda: Simulation({}))
        code = main(definition, arguments)
        return Said(code, *capfd.readouterr())

    return run


@pytest.fixture
def roots(tmp_path: Path) -> list[str]:
    for folder in ("sys/knobs", "dev", "proc"):
        (tmp_path / folder).mkdir(parents=True)
    for name in ("a", "b"):
        (tmp_path / "sys/knobs" / name).write_text("1\n")
    return [f"--{name}fs-root={tmp_path / name}" for name in ("sys", "dev", "proc")]


@pytest.fixture
def config(tmp_path: Path) -> str:
    path = tmp_path / "config.yaml"
    path.write_text(
        f"{HEAD}label: file\nnodes:\n  - match: n*\n    devices: [{{match: a, publish: false}}]\n"
        "  - match: [n1]\n    shout: true\n"
    )
    return str(path)


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[Settings]:
    """What ``run`` was started with."""
    found: list[Settings] = []
    monkeypatch.setattr(app, "run", lambda _definition, settings, _version: found.append(settings))
    return found


# --------------------------------------------------------------------------- run


def test_run_hands_on_file_and_flags(cli: Run, config: str, roots: list[str], served: list[Settings]) -> None:
    assert cli("run", "--node-name=n", f"--config={config}", "--label=x", "--shout", *roots).code == 0
    assert cli("run", "--node-name=n", *roots).code == 0
    first, second = served
    assert first.config == Path(config)
    assert first.flags == {"label": "x", "shout": True}
    assert (second.config, second.flags) == (None, {})


@pytest.mark.parametrize(
    ("given", "shout"),
    [
        (["--shout"], True),
        (["--no-shout"], False),
        (["-s"], True),
        (["--shout=true"], True),
        (["--shout=false"], False),
        (["-shout=False"], False),
        (["--shout=0"], False),
        (["-s=f"], False),
        (["-s=1"], True),
        (["--no-shout", "--shout=true"], True),
    ],
)
def test_a_switch_is_taken_in_go_s_spelling_too(
    cli: Run, roots: list[str], served: list[Settings], given: list[str], shout: object
) -> None:
    assert cli("run", "--node-name=n", *given, *roots).code == 0
    assert served[0].flags == {"shout": shout}


def test_a_switch_with_a_strange_value_is_refused(cli: Run, roots: list[str], served: list[Settings]) -> None:
    said = cli("run", "--node-name=n", "--shout=perhaps", *roots)
    assert (said.code, served) == (2, [])
    assert "--shout" in said.err


@pytest.mark.parametrize(("value", "shout"), [("false", False), ("true", True), ("1", True)])
def test_variables_are_flags(
    cli: Run,
    roots: list[str],
    served: list[Settings],
    monkeypatch: pytest.MonkeyPatch,
    value: str,
    shout: object,
) -> None:
    monkeypatch.setenv("SHOUT", value)
    monkeypatch.setenv("LABEL", "variable")
    monkeypatch.setenv("CONFIG", "/etc/knobs.yaml")
    assert cli("run", "--node-name=n", *roots).code == 0
    assert served[0].flags == {"shout": shout, "label": "variable"}
    assert served[0].config == Path("/etc/knobs.yaml")


def test_an_empty_variable_is_no_file(
    cli: Run, roots: list[str], served: list[Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONFIG", "")
    assert cli("run", "--node-name=n", *roots).code == 0
    assert served[0].config is None


def test_help_says_what_decides_without_the_flag(cli: Run) -> None:
    told = " ".join(cli("run", "--help").out.replace("│", " ").split())
    for word in ("--config", "--shout", "--no-shout", "SHOUT", "without that it is false"):
        assert word in told


def test_a_driver_without_configuration_has_neither_flag_nor_command(
    cli: Run, driver: KnobDriver, roots: list[str], config: str
) -> None:
    driver.policy_kind = None
    assert cli("devices", *roots).code == 0
    assert cli("devices", f"--config={config}", *roots).code == 2
    assert cli("devices", "--shout", *roots).code == 2
    assert cli("config", "check", config).code == 2


# --------------------------------------------------------------------------- devices, slices


def test_slices_are_those_of_the_node_s_configuration(cli: Run, config: str, roots: list[str]) -> None:
    def published(*arguments: str) -> dict[str, Any]:
        said = cli("slices", *arguments, *roots)
        assert (said.code, said.err) == (0, "")
        devices = [each for item in json.loads(said.out)["items"] for each in item["spec"]["devices"]]
        return {each["name"]: each["attributes"].get("label", {}).get("string") for each in devices}

    assert published() == {"a": None, "b": None}
    assert published("--node-name=m", f"--config={config}") == {"a": "file", "b": "file"}
    assert published("--node-name=n", f"--config={config}") == {"b": "file"}
    assert published("--node-name=n", f"--config={config}", "--label=flag") == {"b": "flag"}


def test_devices_shows_what_is_denied(cli: Run, config: str, roots: list[str]) -> None:
    said = cli("devices", "--json", "--node-name=n", f"--config={config}", *roots)
    assert {each["name"]: each["taints"] for each in json.loads(said.out)} == {
        "a": ["knob.example.com/denied=:NoSchedule"],
        "b": [],
    }
    table = cli("devices", "--node-name=n", f"--config={config}", *roots).out
    assert [line.split()[-1] for line in table.splitlines() if "denied" in line] == [
        "knob.example.com/denied"
    ]


def test_a_bad_file_is_one_line(cli: Run, tmp_path: Path, roots: list[str]) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(f"{HEAD}colour: red\n")
    for command in (("devices", *roots), ("slices", *roots)):
        assert cli(*command, f"--config={path}") == (
            2,
            "",
            f"knob-driver: configuration {path}: line 3: colour: unknown field\n",
        )


# --------------------------------------------------------------------------- config


def test_check_says_what_a_file_comes_to(cli: Run, config: str) -> None:
    assert cli("config", "check", config) == (
        0,
        f'{config} is good\non a node that no section of nodes is for:\nlabel: "file"\nshout: false\ndevices: []\n',
        "",
    )
    assert cli("config", "check", config, "--node-name=n1").out.splitlines() == [
        f"{config} is good",
        "on node n1, with sections 1, 2 of 2 of nodes:",
        'label: "file"',
        "shout: true",
        'devices: [{"publish": false, "match": ["a"]}]',
    ]
    assert "on node m, with no section of 2 of nodes:" in cli("config", "check", config, "--node-name=m").out


def test_check_of_a_file_without_sections(cli: Run, tmp_path: Path) -> None:
    path = tmp_path / "plain.yaml"
    path.write_text(HEAD)
    assert "on every node:" in cli("config", "check", str(path)).out
    assert "on every node:" in cli("config", "check", str(path), "--node-name=n").out


def test_check_prints_json_for_scripts(cli: Run, config: str, driver: KnobDriver) -> None:
    said = cli("config", "check", config, "--node-name=n", "--json")
    assert json.loads(said.out) == {
        "label": "file",
        "shout": False,
        "devices": [{"publish": False, "match": ["a"]}],
    }
    assert driver.policy == KnobPolicy()


def test_check_refuses_what_run_refuses(cli: Run, tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(f"{HEAD}nodes:\n  - match: n\n    shout: loud\n")
    said = cli("config", "check", str(path))
    assert (said.code, said.out) == (2, "")
    assert f"configuration {path}: line 5: nodes.0.shout: " in said.err
    assert cli("config", "check").code == 2


def test_the_schema_is_one(cli: Run) -> None:
    made = json.loads(cli("config", "schema").out)
    jsonschema.Draft202012Validator.check_schema(made)
    assert made["properties"]["kind"]["const"] == "KnobDriverConfig"
