"""The control socket as any client sees it: lines of JSON, nothing of ours on the client's side."""

from __future__ import annotations

import base64
import errno
import json
import socket
import stat
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from dra_common.errors import SettingsError
from dra_common.simulate import Simulation, Simulator, find_profile
from dra_common.simulate.control import LONGEST_LINE

PCI = "bus/pci/devices"
PF = "0000:01:00.0"
VF0 = "0000:01:10.0"
TOY = "0000:07:00.0"


class Line:
    """A raw connection."""

    def __init__(self, path: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(60)
        self.socket.connect(str(path))
        self.file = self.socket.makefile("rwb")

    def send(self, data: bytes) -> None:
        self.file.write(data)
        self.file.flush()

    def receive(self) -> dict[str, Any]:
        message = json.loads(self.file.readline())
        assert isinstance(message, dict)
        return message

    def ask(self, **request: object) -> dict[str, Any]:
        self.send(json.dumps(request).encode() + b"\n")
        return self.receive()

    def close(self) -> None:
        self.file.close()
        self.socket.close()


@pytest.fixture
def dial(simulator: Simulator, root: Path) -> Iterator[Any]:
    with ExitStack() as stack:

        def dial_() -> Line:
            line = Line(root / "control.sock")
            stack.callback(line.close)
            return line

        yield dial_


@pytest.fixture
def line(dial: Any) -> Line:
    made = dial()
    assert isinstance(made, Line)
    return made


def test_write(line: Line, root: Path) -> None:
    answer = line.ask(id=7, op="write", path=f"{PCI}/{PF}/sriov_numvfs", value="2")
    assert answer == {"id": 7, "ok": True}
    assert (root / "sys" / PCI / PF / "sriov_numvfs").read_text() == "2\n"


def test_a_refusal_carries_the_errno(line: Line) -> None:
    answer = line.ask(id="a", op="write", path="bus/pci/drivers/igb/bind", value=PF)
    assert answer == {
        "id": "a",
        "ok": False,
        "errno": errno.EBUSY,
        "error": "EBUSY",
        "message": f"Device or resource busy: {PF} is bound to igb",
    }


def test_query(line: Line) -> None:
    answer = line.ask(op="query", node="dri/card1", name="toy.tune")
    assert base64.b64decode(answer["data"]) == b"dri/card1:jig\0\xff"


def test_status_unplug_plug_reboot(line: Line, root: Path) -> None:
    before = line.ask(op="status")
    assert before["profile"] == "nic"
    assert line.ask(op="unplug", bdf=TOY)["ok"]
    assert not (root / "sys" / PCI / TOY).exists()
    assert line.ask(op="plug", bdf=TOY)["ok"]
    assert (root / "sys" / PCI / TOY / "driver").exists()
    assert line.ask(op="plug", bdf=TOY)["error"] == "EEXIST"
    assert line.ask(op="reboot")["ok"]
    assert line.ask(op="status")["boot_id"] != before["boot_id"]


def test_a_gpu_hangs_and_a_sensor_says_something_else(line: Line, dial: Any, root: Path) -> None:
    ear = dial()
    assert ear.ask(op="subscribe")["ok"]
    assert line.ask(op="wedge", bdf=TOY, methods="rebind,bus-reset")["ok"]
    event = ear.receive()["event"]
    assert (event["action"], event["subsystem"]) == ("change", "drm")
    assert event["properties"]["WEDGED"] == "rebind,bus-reset"
    assert line.ask(op="sense", path=f"{PCI}/{PF}/numa_node", value="7")["ok"]
    assert (root / "sys" / PCI / PF / "numa_node").read_text() == "7\n"
    refusals = [
        line.ask(op=op, **fields)["error"]
        for op, fields in (
            ("wedge", {"bdf": "0000:ff:1f.7", "methods": "rebind"}),
            ("wedge", {"bdf": PF, "methods": "rebind"}),
            ("wedge", {"bdf": TOY, "methods": "prayer"}),
            ("wedge", {"bdf": TOY, "methods": ""}),
            ("sense", {"path": f"{PCI}/{PF}/nothing", "value": "7"}),
            ("sense", {"path": f"{PCI}/{PF}", "value": "7"}),
        )
    ]
    assert refusals == ["ENODEV", "ENOTSUP", "EINVAL", "EINVAL", "ENOENT", "EISDIR"]


def test_a_function_reports_an_error(line: Line, root: Path) -> None:
    assert line.ask(op="error", bdf=PF, severity="nonfatal", name="CmpltTO")["ok"]
    assert "CmpltTO 1\n" in (root / "sys" / PCI / PF / "aer_dev_nonfatal").read_text()
    refusals = [
        line.ask(op="error", bdf=bdf, severity=severity, name=name)["error"]
        for bdf, severity, name in (
            ("0000:ff:1f.7", "nonfatal", "CmpltTO"),
            (TOY, "nonfatal", "CmpltTO"),
            (PF, "terrible", "CmpltTO"),
            (PF, "correctable", "CmpltTO"),
        )
    ]
    assert refusals == ["ENODEV", "EPROTONOSUPPORT", "EINVAL", "EINVAL"]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"garbage\n", "not JSON"),
        (b"\n", "not JSON"),
        (b"\xff\xfe\n", "not JSON"),
        (b"[]\n", "not a JSON object"),
        (b"{}\n", "op must be text"),
        (b'{"op": 3}\n', "op must be text"),
        (b'{"op": "dance"}\n', "op is one of write, query, subscribe"),
        (b'{"op": "write", "path": "x"}\n', "value must be text"),
        (b'{"op": "write", "path": "a\\u0000b", "value": "x"}\n', "path must be text"),
        (b'{"op": "query", "node": [], "name": "x"}\n', "node must be text"),
    ],
)
def test_garbage_is_refused_and_the_connection_lives(line: Line, data: bytes, expected: str) -> None:
    line.send(data)
    answer = line.receive()
    assert (answer["ok"], answer["error"]) == (False, "EINVAL")
    assert expected in answer["message"]
    assert line.ask(op="status")["ok"]


def test_a_line_without_end_ends_the_connection_only(line: Line, dial: Any) -> None:
    line.send(b"x" * (LONGEST_LINE + 1))
    assert line.receive()["error"] == "EMSGSIZE"
    assert line.file.readline() == b""
    assert dial().ask(op="status")["ok"]


def test_a_bug_in_a_kernel_driver_is_an_answer_too(line: Line) -> None:
    answer = line.ask(op="query", node="dri/card1", name="toy.crash")
    assert (answer["error"], "simulation failed" in answer["message"]) == ("EIO", True)
    assert line.ask(op="status")["ok"]


def test_many_clients_one_after_another_obeyed(dial: Any, root: Path) -> None:
    lines = [dial() for _ in range(12)]
    answers: list[dict[str, Any]] = []

    def work(line: Line) -> None:
        path = f"{PCI}/{PF}/sriov_numvfs"
        answers.extend(line.ask(op="write", path=path, value=count) for count in ("2", "0"))

    threads = [threading.Thread(target=work, args=(line,)) for line in lines]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # Writing 2 while there are 2 is fine, so nothing is ever refused; and each request had its own answer.
    assert len(answers) == 24
    assert all(answer["ok"] for answer in answers)
    count = int((root / "sys" / PCI / PF / "sriov_numvfs").read_text())
    assert len(list((root / "sys" / PCI / PF).glob("virtfn*"))) == count


def test_every_subscriber_hears_everything_in_order(dial: Any) -> None:
    subscribers = [dial() for _ in range(3)]
    for subscriber in subscribers:
        assert subscriber.ask(id=1, op="subscribe") == {"id": 1, "ok": True}
    dial().ask(op="write", path=f"{PCI}/{PF}/sriov_numvfs", value="1")
    for subscriber in subscribers:
        events = [subscriber.receive()["event"] for _ in range(4)]
        assert [(event["action"], event["properties"]["PCI_SLOT_NAME"]) for event in events] == [
            ("add", VF0),
            ("change", VF0),
            ("bind", VF0),
            ("change", PF),
        ]
        numbers = [int(event["properties"]["SEQNUM"]) for event in events]
        assert numbers == sorted(set(numbers))


def test_the_answer_to_subscribe_comes_before_any_event(dial: Any) -> None:
    busy = dial()
    stop = threading.Event()

    def poke() -> None:
        while not stop.is_set():
            busy.ask(op="write", path=f"{PCI}/{PF}/uevent", value="change")

    poker = threading.Thread(target=poke)
    poker.start()
    try:
        for _ in range(20):
            assert dial().ask(id=1, op="subscribe") == {"id": 1, "ok": True}
    finally:
        stop.set()
        poker.join()


def test_a_subscriber_may_go_on_asking(line: Line) -> None:
    line.ask(op="subscribe")
    assert line.ask(op="subscribe")["ok"]
    line.send(
        json.dumps({"id": 5, "op": "write", "path": f"{PCI}/{PF}/uevent", "value": "change"}).encode() + b"\n"
    )
    messages = [line.receive(), line.receive()]
    assert sorted("event" in message for message in messages) == [False, True]


def test_a_client_that_vanishes_disturbs_nobody(dial: Any) -> None:
    subscriber = dial()
    subscriber.ask(op="subscribe")
    half = dial()
    half.send(b'{"op": "wri')
    subscriber.close()
    half.close()
    line = dial()
    for count in ("1", "0") * 10:
        assert line.ask(op="write", path=f"{PCI}/{PF}/sriov_numvfs", value=count)["ok"]


def test_a_subscriber_that_does_not_read_is_cut_off(dial: Any) -> None:
    silent = dial()
    silent.ask(op="subscribe")
    line = dial()
    uevent = f"{PCI}/{PF}/uevent"
    for _ in range(11_500):
        line.send(json.dumps({"op": "write", "path": uevent, "value": "change"}).encode() + b"\n")
        assert line.receive()["ok"]
    count = 0
    while silent.file.readline():
        count += 1
    assert count < 11_500


def test_stop(line: Line, simulator: Simulator, root: Path) -> None:
    assert line.ask(op="stop")["ok"]
    simulator.wait()
    simulator.__exit__()
    assert not (root / "control.sock").exists()
    assert line.file.readline() == b""


def test_only_the_owner_may_connect(simulator: Simulator, root: Path) -> None:
    mode = (root / "control.sock").stat().st_mode
    assert stat.S_ISSOCK(mode)
    assert stat.S_IMODE(mode) == 0o600


def test_a_path_too_long_for_a_socket(simulation: Simulation, tmp_path: Path) -> None:
    root = tmp_path / ("x" * 100)
    with (
        pytest.raises(SettingsError, match="too long for a socket"),
        Simulator(simulation, find_profile(simulation, "nic"), root),
    ):
        pass
    # And the folder is free again.
    assert (root / ".simulated-machine").exists()
    with pytest.raises(SettingsError, match="too long for a socket"):
        Simulator(simulation, find_profile(simulation, "nic"), root).__enter__()
