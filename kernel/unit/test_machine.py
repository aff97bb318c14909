"""A guest's process and its folder, with a program in the place of QEMU: the result comes from the file."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from guest import machine as module
from guest.errors import GuestError
from guest.machine import Machine
from guest.parts import Parts

DEADLINE = 30.0
GUEST = Path(module.__file__).parents[1]
PROGRAM = """#!/bin/bash
for word in "$@"; do
    case $word in file,id=console,path=*) console=${word#*path=} ;; esac
done
cd "$(dirname "$console")"
"""
RUN = """
import sys
from pathlib import Path
from guest.machine import Machine
from guest.parts import Parts
root = Path(sys.argv[1])
Machine(Parts(root / "tools", root / "kernel"), root / "out").run("true", 600)
"""


@pytest.fixture
def made(tmp_path: Path) -> Parts:
    """Give parts that are enough for an initramfs; `qemu` makes the program."""
    parts = Parts(tmp_path / "tools", tmp_path / "kernel")
    modules = parts.kernel / "lib" / "modules" / "6.12"
    modules.mkdir(parents=True)
    (modules / "modules.dep").write_text("")
    (modules / "modules.builtin").write_text("a/9p.ko\na/9pnet_virtio.ko\na/overlay.ko\n")
    for folder in ("bin", "usr/bin"):
        (parts.tools / folder).mkdir(parents=True)
    (parts.tools / "bin" / "busybox").write_text("busybox")
    return parts


def qemu(parts: Parts, does: str) -> None:
    program = parts.tools / "usr" / "bin" / "qemu-system-x86_64"
    program.write_text(PROGRAM + does)
    program.chmod(0o755)


def run(parts: Parts, does: str, timeout: float = DEADLINE) -> int:
    qemu(parts, does)
    return Machine(parts, parts.tools.parent / "out").run("some command", timeout)


def refusal(parts: Parts, does: str, timeout: float = DEADLINE) -> str:
    with pytest.raises(GuestError) as refused:
        run(parts, does, timeout)
    assert "\n" not in str(refused.value)
    return str(refused.value).replace(str(parts.tools.parent), "")


def test_the_result_is_what_the_file_says(made: Parts) -> None:
    assert run(made, "echo 7 >code; exit 3") == 7
    assert run(made, "echo 0 >code; kill -9 $$") == 0


def test_the_guest_finds_command_and_places(made: Parts) -> None:
    assert run(made, "cat command places >seen; [ -s initramfs ]; echo $? >code") == 0
    seen = (made.tools.parent / "out" / "seen").read_text().splitlines()
    assert seen == ["some command", f"MODULES={made.kernel}/lib/modules", f"TOOLS={made.tools}"]


def test_what_a_run_before_left_is_no_result(made: Parts) -> None:
    assert run(made, "echo 0 >code") == 0
    assert refusal(made, "exit 0") == "the guest ended without a result; console: /out/console"


def test_output_is_passed_on_as_it_comes(made: Parts) -> None:
    qemu(made, "echo one >>stdout; until [ -e go ]; do sleep 0.01; done; echo two >>stdout; echo 0 >code")
    heard: list[bytes] = []

    def tell(data: bytes) -> None:
        heard.append(data)
        (made.tools.parent / "out" / "go").touch()

    assert Machine(made, made.tools.parent / "out").run("x", DEADLINE, tell) == 0
    assert heard == [b"one\n", b"two\n"]


def test_a_panic_is_said_in_the_kernels_words(made: Parts) -> None:
    does = "echo '[    1.0] Kernel panic - not syncing: sysrq triggered crash' >console"
    told = "the guest's kernel panicked: sysrq triggered crash; console: /out/console"
    assert refusal(made, does) == told


def test_a_hang_is_ended(made: Parts, tmp_path: Path) -> None:
    told = refusal(made, "echo $$ >pid; exec sleep 600", 1)
    assert told == "the guest gave no result within 1 s and was ended; console: /out/console"
    assert not Path("/proc", (tmp_path / "out" / "pid").read_text().strip()).exists()


def test_a_guest_that_never_begins_is_booted_again(
    made: Parts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PATIENCE", (0.5, float("inf")))
    stuck = f"[ -e {tmp_path}/stuck ] || {{ echo $$ >{tmp_path}/stuck; exec sleep 600; }}"
    assert run(made, f"{stuck}; echo said >stdout; echo 5 >code") == 5
    assert not Path("/proc", (tmp_path / "stuck").read_text().strip()).exists()


def test_a_guest_that_has_begun_is_left_its_time(
    made: Parts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PATIENCE", (0.5, 0.5))
    assert run(made, f"echo once >>{tmp_path}/boots; : >stdout; sleep 1; echo 6 >code") == 6
    assert (tmp_path / "boots").read_text() == "once\n"


STILL = "echo '[   50.1] rcu: \tPossible timer handling issue on cpu=0 timer-softirq=1' >console"


def test_a_guest_whose_timer_stands_still_is_begun_again_where_that_may_be(
    made: Parts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SILENCE", 0.5)
    stuck = f"[ -e {tmp_path}/stuck ] || {{ echo $$ >{tmp_path}/stuck; {STILL}; exec sleep 600; }}"
    qemu(made, f": >stdout; {stuck}; echo said >stdout; echo 5 >code")
    heard: list[bytes] = []
    assert Machine(made, tmp_path / "out").run("x", DEADLINE, heard.append, repeatable=True) == 5
    assert heard == [b"said\n"]
    assert not Path("/proc", (tmp_path / "stuck").read_text().strip()).exists()


def test_a_guest_whose_timer_stands_still_is_given_up_at_once(
    made: Parts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SILENCE", 0.5)
    does = f"echo once >>{tmp_path}/boots; : >stdout; {STILL}; exec sleep 600"
    told = "the guest's emulated timer stood still; console: /out/console (run it again)"
    assert refusal(made, does) == told
    assert (tmp_path / "boots").read_text() == "once\n"


def test_a_guest_that_complains_of_its_timer_and_goes_on_is_left_its_time(
    made: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SILENCE", 0.5)
    says = "for n in 1 2 3 4 5 6 7 8; do echo $n >>stdout; sleep 0.2; done"
    assert run(made, f"{STILL}; {says}; echo 6 >code") == 6


def test_a_result_that_came_in_time_counts_though_the_guest_does_not_end(made: Parts) -> None:
    assert run(made, "echo 4 >code; exec sleep 600", 1) == 4


@pytest.mark.parametrize(
    ("said", "cure"),
    [
        (
            "qemu: cannot set up guest memory 'pc.ram': Cannot allocate memory",
            " (the guest needs 2 GB of memory)",
        ),
        ("qemu: error while loading shared libraries: libz.so.1", ""),
    ],
)
def test_what_qemu_says_last_is_told_and_a_warning_is_not(made: Parts, said: str, cure: str) -> None:
    does = f"echo \"{said}\" >&2; echo 'qemu: warning: nic igb0 has no peer' >&2; exit 1"
    assert refusal(made, does) == f"QEMU ended with status 1: {said}; console: /out/console{cure}"


def test_a_folder_that_cannot_be_made_is_one_line(made: Parts, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(GuestError, match=r"the guest cannot be prepared: .*Not a directory"):
        Machine(made, tmp_path / "file" / "out").run("x", 1)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_no_process_outlives_this_one(made: Parts, tmp_path: Path, number: int) -> None:
    qemu(made, "echo $$ >pid.new; mv pid.new pid; exec sleep 600")
    command = [sys.executable, "-c", RUN, str(tmp_path)]
    with subprocess.Popen(command, env=os.environ | {"PYTHONPATH": str(GUEST)}) as process:
        deadline = time.monotonic() + DEADLINE
        while not (tmp_path / "out" / "pid").exists():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        process.send_signal(number)
    child = Path("/proc", (tmp_path / "out" / "pid").read_text().strip())
    while child.exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
