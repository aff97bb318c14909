"""What becomes of a guest: a result, or one line that says why there is none."""

import os
import pty
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import guest
import pytest
from guest.errors import GuestError
from guest.machine import Machine
from guest.parts import Parts

Until = Callable[[Callable[[], bool], str], None]
KERNEL = Path(guest.__file__).parents[1]
TIMEOUT = 400.0
# Of a boot that stands still the next one makes up.
pytestmark = pytest.mark.timeout(500)


def command(output: Path, *words: str) -> list[str]:
    return [sys.executable, "-m", "guest", f"--output={output}", f"--timeout={TIMEOUT}", *words]


def environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(KERNEL)}


def test_a_command_sees_this_machine_changes_nothing_and_has_its_result_told(
    parts: Parts, output: Path, tmp_path: Path
) -> None:
    (tmp_path / "here").write_text("from the machine\n")
    machine = Machine(parts, output)
    told: list[bytes] = []
    does = f"uname -r; cat {tmp_path}/here; echo other >{tmp_path}/here; cat {tmp_path}/here; exit 7"
    assert machine.run(does, TIMEOUT, told.append) == 7
    assert b"".join(told).decode().splitlines() == [parts.release, "from the machine", "other"]
    assert (tmp_path / "here").read_text() == "from the machine\n"


def test_a_panic_is_one_line_with_its_cause_and_the_console(output: Path) -> None:
    words = command(output, "run", "sh", "-c", "echo c >/proc/sysrq-trigger")
    done = subprocess.run(words, env=environment(), capture_output=True, text=True, check=False)
    console = output / "run" / "console"
    assert done.stderr == f"guest: the guest's kernel panicked: sysrq triggered crash; console: {console}\n"
    assert done.returncode == 125
    assert "Kernel panic" in console.read_text()


def test_a_guest_that_hangs_is_ended(parts: Parts, output: Path) -> None:
    with pytest.raises(GuestError) as refused:
        Machine(parts, output).run("while :; do :; done", 20)
    told = f"the guest gave no result within 20 s and was ended; console: {output}/console"
    assert str(refused.value) == told


def test_a_signal_ends_the_guest_too(output: Path, until: Until) -> None:
    words = command(output, "run", "sh", "-c", "echo begun; sleep 600")
    with subprocess.Popen(words, env=environment(), stdout=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stdout.readline() == b"begun\n"
        process.send_signal(signal.SIGTERM)
    assert process.returncode == 128 + signal.SIGTERM


def test_a_shell_talks_with_the_terminal(output: Path) -> None:
    ours, its = pty.openpty()
    words = command(output, "shell")
    with subprocess.Popen(words, env=environment(), stdin=its, stdout=its, stderr=its) as process:
        os.close(its)
        said = b""
        for waited, typed in (
            (b"guest:", b"modprobe igb; echo seen $((40 + 2))\r"),
            (b"seen 42", b"exit 3\r"),
        ):
            while waited not in said:
                said += os.read(ours, 4096)
            os.write(ours, typed)
        assert process.wait(TIMEOUT) == 3
    os.close(ours)
