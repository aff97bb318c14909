"""The command line of any driver, in this process, on a made-up accelerator."""

from __future__ import annotations

import errno
import json
import platform
import re
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from dra_common.cli import main
from dra_common.definition import Definition
from dra_common.errors import HostError
from dra_common.model import Allocated, ClaimRecord, ClaimRef, Phase, Plan, PlannedDevice, PreparedDevice
from dra_common.ports import Host
from dra_common.records import FileRecords, claims_folder
from dra_common.simulate import Simulation
from dra_common.testing.cdi import resolve
from dra_common.testing.knobs import DRIVER, KnobDriver

LONG = "a-knob-with-a-name-of-sixty-three-characters-which-is-the-limit"
COMMANDS = (
    ("run",),
    ("devices",),
    ("slices",),
    ("config",),
    ("config", "check"),
    ("config", "schema"),
    ("claims",),
    ("claims", "adopt"),
    ("claims", "verify"),
    ("claims", "repair"),
    ("claims", "release"),
    ("cdi",),
    ("cdi", "generate"),
    ("simulate",),
    ("version",),
)


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
    for name in ("NODE_NAME", "KUBECONFIG", "CDI_ROOT", "SYSFS_ROOT", "DEVFS_ROOT", "SIMULATED_ROOT", "V"):
        monkeypatch.delenv(name, raising=False)
    definition = Definition("knob-driver", "dra-common", "Turns knobs.", driver, lambda: Simulation({}))

    def run(*arguments: str) -> Said:
        code = main(definition, arguments)
        return Said(code, *capfd.readouterr())

    return run


@pytest.fixture
def roots(tmp_path: Path) -> list[str]:
    for folder in ("sys/knobs", "dev", "proc"):
        (tmp_path / folder).mkdir(parents=True)
    for name, level in {"b": 2, LONG: 7, "a": 1}.items():
        (tmp_path / "sys/knobs" / name).write_text(f"{level}\n")
    return [f"--{name}fs-root={tmp_path / name}" for name in ("sys", "dev", "proc")]


def one_line(said: Said, code: int) -> str:
    """The only thing that was said, on standard error."""
    assert said.code == code, said
    assert said.out == ""
    assert said.err.count("\n") == 1, said.err
    assert said.err.startswith("knob-driver: ")
    return said.err


# --------------------------------------------------------------------------- help and errors


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_every_command_has_help(cli: Run, command: tuple[str, ...], flag: str) -> None:
    said = cli(*command, flag)
    assert (said.code, said.err) == (0, "")
    assert f"Usage: knob-driver {' '.join(command)}" in said.out
    if command != ("cdi",):
        assert "--help" in said.out


def test_the_help_names_title_and_commands(cli: Run) -> None:
    said = cli("--help")
    assert said.code == 0
    for part in ("Turns knobs.", "run", "devices", "slices", "claims", "cdi", "simulate", "version"):
        assert part in said.out


def test_run_help_documents_every_setting_with_its_variable_and_default(
    cli: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    text = " ".join(cli("run", "--help").out.split())
    for option, default in {
        "--node-name": "",
        "--kubeconfig": "",
        "--kubelet-plugins-dir": "/var/lib/kubelet/plugins",
        "--kubelet-registry-dir": "/var/lib/kubelet/plugins_registry",
        "--cdi-root": "/etc/cdi",
        "--cdi-dynamic-root": "/var/run/cdi",
        "--healthcheck-port": "51516",
        "--sysfs-root": "/sys",
        "--devfs-root": "/dev",
        "--procfs-root": "/proc",
        "--cdi-devfs-root": "",
        "--simulated-root": "",
        "--rescan-seconds": "60",
        "--gc-seconds": "60",
        "--server-features-off": "",
        "--logging-format": "text",
    }.items():
        name = option.removeprefix("--").upper().replace("-", "_")
        assert option in text
        assert f"[env var: {name}]" in text
        assert f"[default: {default}" in text
    assert "[env var: V]" in text
    for ignored in ("--kube-api-qps", "--kube-api-burst", "--vmodule", "--feature-gates"):
        assert ignored in text


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["nope"], "No such command 'nope' (see knob-driver --help)"),
        (["cdi", "nope"], "(see knob-driver cdi --help)"),
        (["devices", "--nope"], "--nope (see knob-driver devices --help)"),
        (["devices", "extra"], "extra"),
        (["run"], "--node-name"),
        (["run", "--node-name=n", "--healthcheck-port=many"], "--healthcheck-port"),
        (["run", "--node-name=n", "--rescan-seconds=soon"], "--rescan-seconds"),
        (["run", "--node-name=n", "--gc-seconds=never"], "--gc-seconds"),
        (["run", "--node-name=n", "--logging-format=xml"], "json"),
        (["run", "--node-name=n", "-v", "loud"], "integer"),
        (["run", "--node-name=Not_A_Node", "--sysfs-root=/"], "DNS-1123"),
        (["devices", "--sysfs-root=/nowhere"], "/nowhere is not a folder"),
        (["run", "--node-name=n", "--server-features-off=tants"], "taints (or DRADeviceTaints)"),
        (["slices", "--server-features-off=tants"], "'tants' is not a feature"),
        (["slices", "--kubernetes=new"], "1.34 and newer"),
        (["slices", "--kubernetes=1.33"], "1.34 and newer"),
        (["simulate"], "--root is missing"),
        (["simulate", "--root=/tmp/x"], "--profile is missing"),
        (["simulate", "--root=/tmp/x", "--profile=y"], "no profile 'y'"),
        (["claims", "--kubelet-plugins-dir=/nowhere"], "--kubelet-plugins-dir"),
        (["claims", "verify", "--kubelet-plugins-dir=/nowhere"], "--kubelet-plugins-dir"),
        (["claims", "repair", "--kubelet-plugins-dir=/nowhere"], "--kubelet-plugins-dir"),
        (["claims", "release", "u", "--kubelet-plugins-dir=/nowhere"], "--kubelet-plugins-dir"),
        (["claims", "release"], "UID"),
        (["claims", "mend"], "(see knob-driver claims --help)"),
    ],
)
def test_bad_usage_is_one_line_and_exit_code_2(
    cli: Run, roots: list[str], arguments: list[str], says: str
) -> None:
    if arguments[0] == "slices":
        arguments = [*arguments, *roots]
    assert says in one_line(cli(*arguments), 2)


def test_bad_variables_are_named(cli: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NODE_NAME", "n")
    monkeypatch.setenv("HEALTHCHECK_PORT", "many")
    line = one_line(cli("run"), 2)
    assert "HEALTHCHECK_PORT" in line


def test_no_arguments_print_the_help(cli: Run) -> None:
    for arguments in ((), ("cdi",)):
        said = cli(*arguments)
        assert said.code == 2
        assert "Usage" in said.out + said.err


def test_what_fails_is_one_line_and_exit_code_1(cli: Run, roots: list[str], driver: KnobDriver) -> None:
    driver.broken.add("discover:a")
    for command in ("devices", "slices"):
        line = one_line(cli(command, *roots), 1)
        assert "device a: discover: the knob is stuck (oil it)" in line


def test_an_error_of_several_lines_becomes_one(
    cli: Run, roots: list[str], driver: KnobDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    def discover(_host: Host) -> Any:
        raise HostError("first\n  second", cure="third")

    monkeypatch.setattr(driver, "discover", discover)
    assert "first second (third)" in one_line(cli("devices", *roots), 1)


def test_an_output_that_takes_nothing_is_told_in_a_line(
    cli: Run, monkeypatch: pytest.MonkeyPatch, driver: KnobDriver, roots: list[str]
) -> None:
    def discover(_host: Host) -> Any:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(driver, "discover", discover)
    assert "No space left on device" in one_line(cli("devices", *roots), 1)


def test_ctrl_c_ends_a_command_without_a_word(
    cli: Run, monkeypatch: pytest.MonkeyPatch, driver: KnobDriver, roots: list[str]
) -> None:
    def discover(_host: Host) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(driver, "discover", discover)
    assert cli("devices", *roots) == (130, "", "")


# --------------------------------------------------------------------------- what has no effect


def test_options_without_effect_are_told_in_exactly_one_line(cli: Run, roots: list[str]) -> None:
    said = cli("devices", "--kube-api-qps", "5", "--vmodule=a=1", "-kube-api-burst=9", *roots)
    assert said.code == 0
    assert said.out
    line = one_line(said._replace(out=""), 0)
    for option in ("--kube-api-qps", "--vmodule", "--kube-api-burst"):
        assert line.count(option) == 1


def test_variables_without_effect_are_told_by_run_alone(
    cli: Run, roots: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBE_API_QPS", "5")
    monkeypatch.setenv("LOG_FLUSH_FREQUENCY", "5s")
    assert cli("devices", *roots).err == ""
    said = cli("run", "--node-name=Bad_", "--feature-gates=A=true", *roots)
    warning, complaint = said.err.splitlines()
    for name in ("KUBE_API_QPS", "LOG_FLUSH_FREQUENCY", "--feature-gates"):
        assert name in warning
    assert "node name" in complaint


# --------------------------------------------------------------------------- devices, slices, version


def test_version(cli: Run) -> None:
    known = version("dra-common")
    said = cli("version")
    expected = f"knob-driver {known} (dra-common {known}, Python {platform.python_version()})\n"
    assert said == (0, expected, "")


def test_a_program_that_is_not_installed_has_no_version(
    driver: KnobDriver, capfd: pytest.CaptureFixture[str]
) -> None:
    definition = Definition("knob-driver", "dra-never-made", "Turns knobs.", driver, lambda: Simulation({}))
    assert main(definition, ["version"]) == 2
    said = capfd.readouterr()
    assert "dra-never-made is not installed" in said.err
    assert "0.0.0" not in said.out + said.err


@pytest.mark.parametrize("columns", ["20", "80", "400"])
def test_the_table_never_cuts_a_name(
    cli: Run, roots: list[str], columns: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    said = cli("devices", *roots)
    header, *rows = said.out.splitlines()
    assert header.split() == ["DEVICE", "MODEL", "FAMILY", "TYPE", "DRIVER", "CAPACITY", "TAINTS"]
    assert [row.strip() for row in rows] == ["a", LONG, "b"]


def test_devices_as_json(cli: Run, roots: list[str]) -> None:
    said = cli("devices", "--json", *roots)
    assert said.err == ""
    assert json.loads(said.out) == [
        {
            "name": name,
            "attributes": {"level": level},
            "capacity": {},
            "taints": [],
            "hardware": {"level": level},
        }
        for name, level in (("a", 1), (LONG, 7), ("b", 2))
    ]


def test_a_machine_without_devices(cli: Run, roots: list[str], tmp_path: Path) -> None:
    for knob in (tmp_path / "sys/knobs").iterdir():
        knob.unlink()
    assert cli("devices", *roots) == (0, "no devices on this node\n", "")
    assert json.loads(cli("devices", "--json", *roots).out) == []
    (item,) = json.loads(cli("slices", "--node-name=n", *roots).out)["items"]
    assert item["spec"]["devices"] == []


def test_roots_come_from_the_environment_too(
    cli: Run, roots: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("sys", "dev", "proc"):
        monkeypatch.setenv(f"{name.upper()}FS_ROOT", str(tmp_path / name))
    assert LONG in cli("devices").out
    # A flag is stronger.
    (tmp_path / "other/knobs").mkdir(parents=True)
    assert cli("devices", f"--sysfs-root={tmp_path / 'other'}").out == "no devices on this node\n"


def test_slices_are_for_this_node_and_driver(cli: Run, roots: list[str]) -> None:
    said = cli("slices", "--node-name=node-7", "--kubernetes=v1.36.2", *roots)
    assert said.err == ""
    (item,) = json.loads(said.out)["items"]
    assert item["spec"]["driver"] == DRIVER
    assert item["spec"]["nodeName"] == "node-7"
    assert item["spec"]["pool"] == {"name": "node-7", "generation": 1, "resourceSliceCount": 1}
    assert [device["name"] for device in item["spec"]["devices"]] == ["a", LONG, "b"]
    (owner,) = item["metadata"]["ownerReferences"]
    assert owner["uid"] == "00000000-0000-0000-0000-000000000000"


# --------------------------------------------------------------------------- claims

UID = "11111111-2222-3333-4444-555555555555"


@pytest.fixture
def records(tmp_path: Path) -> FileRecords:
    return FileRecords(claims_folder(tmp_path / DRIVER))


def record(name: str, uid: str, phase: Phase, *devices: str, error: str = "") -> ClaimRecord:
    planned = tuple(PlannedDevice(Allocated("r", "node-1", device)) for device in devices)
    answer = tuple(
        PreparedDevice(("r",), "node-1", device, (f"example.com/knob={uid}-{device}",)) for device in devices
    )
    return ClaimRecord(ClaimRef("team", name, uid), phase, "boot", Plan(planned), answer, error)


def test_claims_are_listed_with_phase_devices_and_error(
    cli: Run, records: FileRecords, tmp_path: Path
) -> None:
    records.save(record("good", UID, Phase.PREPARED, "a", LONG))
    records.save(record("stuck", UID.replace("1", "9"), Phase.FAILED, "b", error="device b: revert: no oil"))
    said = cli("claims", f"--kubelet-plugins-dir={tmp_path}")
    assert (said.code, said.err) == (0, "")
    header, *rows = (re.split(r"\s{2,}", line.strip()) for line in said.out.splitlines())
    assert header == ["CLAIM", "UID", "PHASE", "DEVICES", "ERROR"]
    assert sorted(rows) == [
        ["team/good", UID, "prepared", f"a, {LONG}"],
        ["team/stuck", UID.replace("1", "9"), "failed", "b", "device b: revert: no oil"],
    ]


def test_claims_as_json_are_whole_records(cli: Run, records: FileRecords, tmp_path: Path) -> None:
    records.save(record("good", UID, Phase.PREPARED, "a"))
    (found,) = json.loads(cli("claims", "--json", f"--kubelet-plugins-dir={tmp_path}").out)
    assert found["ref"] == {"namespace": "team", "name": "good", "uid": UID}
    assert found["phase"] == "prepared"
    assert found["boot_id"] == "boot"
    assert found["answer"][0]["cdi_ids"] == [f"example.com/knob={UID}-a"]
    assert found["plan"]["devices"][0]["allocated"]["device"] == "a"


@pytest.mark.parametrize("damage", [b"", b"{", b"\xff\xfe", b'{"schema": 1, "sha256": "", "record": {}}'])
def test_a_damaged_record_is_told_and_the_others_are_listed(
    cli: Run, records: FileRecords, tmp_path: Path, damage: bytes
) -> None:
    records.save(record("good", UID, Phase.PREPARED, "a"))
    bad = claims_folder(tmp_path / DRIVER) / "bad-uid.json"
    bad.write_bytes(damage)
    said = cli("claims", f"--kubelet-plugins-dir={tmp_path}")
    assert said.code == 0
    assert "team/good" in said.out
    (row,) = [line for line in said.out.splitlines() if "unreadable" in line]
    assert "bad-uid" in row
    found = json.loads(cli("claims", "--json", f"--kubelet-plugins-dir={tmp_path}").out)
    (told,) = [each for each in found if "error" in each and each["ref"] == {"uid": "bad-uid"}]
    assert "bad-uid.json" in told["error"]
    # Looking changes nothing.
    assert bad.read_bytes() == damage


def test_no_claims_and_never_run_are_different_things(cli: Run, records: FileRecords, tmp_path: Path) -> None:
    folder = f"--kubelet-plugins-dir={tmp_path}"
    assert cli("claims", folder) == (0, "no claims on this node\n", "")
    assert json.loads(cli("claims", "--json", folder).out) == []
    claims_folder(tmp_path / DRIVER).rmdir()
    assert "the driver has never run with this folder" in one_line(cli("claims", folder), 2)
    assert not claims_folder(tmp_path / DRIVER).exists()


# --------------------------------------------------------------------------- cdi generate


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "etc/cdi"


def test_cdi_generate_writes_what_a_runtime_resolves(
    cli: Run, roots: list[str], folder: Path, tmp_path: Path
) -> None:
    said = cli("cdi", "generate", f"--cdi-root={folder}", *roots)
    assert (said.code, said.err) == (0, "")
    path, *ids = (line.strip() for line in said.out.splitlines())
    assert path == f"{folder}/example.com-knob.json:"
    assert ids == [f"example.com/knob={name}" for name in ("a", LONG, "b")]
    edits = resolve([ids[0]], [folder])
    assert {path: node["hostPath"] for path, node in edits.device_nodes.items()} == {
        "/dev/a": f"{tmp_path}/dev/a"
    }
    # The same again changes nothing; a device more does.
    assert cli("cdi", "generate", f"--cdi-root={folder}", *roots) == said
    (tmp_path / "sys/knobs/c").write_text("3\n")
    assert cli("cdi", "generate", f"--cdi-root={folder}", *roots).code == 0
    assert resolve(["example.com/knob=c"], [folder]).device_nodes


def test_cdi_generate_says_the_hosts_paths(cli: Run, roots: list[str], folder: Path) -> None:
    cli("cdi", "generate", f"--cdi-root={folder}", "--cdi-devfs-root=/dev", *roots)
    (node,) = resolve(["example.com/knob=a"], [folder]).device_nodes.values()
    assert node.get("hostPath", node["path"]) == "/dev/a"


def test_a_dry_run_prints_the_file_and_writes_nothing(cli: Run, roots: list[str], folder: Path) -> None:
    said = cli("cdi", "generate", "--dry-run", f"--cdi-root={folder}", *roots)
    assert not folder.exists()
    cli("cdi", "generate", f"--cdi-root={folder}", *roots)
    assert (folder / "example.com-knob.json").read_text() == said.out
    assert json.loads(said.out)["kind"] == "example.com/knob"


def test_a_go_drivers_yaml_in_the_way_is_left_alone_unless_told(
    cli: Run, roots: list[str], folder: Path
) -> None:
    folder.mkdir(parents=True)
    rival = folder / "example.com-knob.yaml"
    rival.write_text("cdiVersion: 0.5.0\nkind: example.com/knob\n")
    line = one_line(cli("cdi", "generate", f"--cdi-root={folder}", *roots), 1)
    assert str(rival) in line
    assert "--replace" in line
    assert [path.name for path in folder.iterdir()] == [rival.name]
    assert cli("cdi", "generate", "--replace", f"--cdi-root={folder}", *roots).code == 0
    assert [path.name for path in folder.iterdir()] == ["example.com-knob.json"]


def test_a_folder_that_cannot_be_written(cli: Run, roots: list[str], tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("precious")
    for folder in (file, file / "below"):
        line = one_line(cli("cdi", "generate", f"--cdi-root={folder}", *roots), 1)
        assert str(folder) in line
        assert "--cdi-root" in line
    assert file.read_text() == "precious"


def test_nothing_to_generate_leaves_an_older_file_alone(
    cli: Run, roots: list[str], folder: Path, tmp_path: Path
) -> None:
    cli("cdi", "generate", f"--cdi-root={folder}", *roots)
    before = (folder / "example.com-knob.json").read_text()
    for knob in (tmp_path / "sys/knobs").iterdir():
        knob.unlink()
    said = cli("cdi", "generate", f"--cdi-root={folder}", *roots)
    assert (said.code, said.out) == (0, "")
    assert "no devices on this node" in said.err
    assert (folder / "example.com-knob.json").read_text() == before
