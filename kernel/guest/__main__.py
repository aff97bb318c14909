"""Command line of the guest: `python -m guest fetch|run|test|shell`; for `make test-kernel` and `make kernel-shell`."""

import argparse
import compileall
import os
import shlex
import signal
import sys
import termios
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from guest.cache import Cache, cache_folder
from guest.errors import GuestError
from guest.machine import Machine, to_stdout
from guest.parts import Parts, find
from guest.tier import Part, Tier, inside

KERNEL = Path(__file__).parent.parent
CHECKOUT = KERNEL.parent
# What a run leaves, on purpose: the console and the results.
OUTPUT = CHECKOUT / ".kernel"
SOURCES = ("packages/common/src", "packages/gpu-driver/src", "packages/common/tests", "kernel/inside")
TESTS, BOOTS = KERNEL / "inside", KERNEL / "boots"
USAGE = """
Linux {release}. / is this machine's, read-only; what you write is gone when you leave. /run/guest is kept: {folder}
  modprobe igb; echo 2 > /sys/bus/pci/devices/0000:01:00.0/sriov_numvfs      an SR-IOV card with 7 VFs
  modprobe vfio-pci; ls /dev/vfio                                            an IOMMU
  echo "device_del igb0" > /dev/ttyS1                                        QEMU's monitor: pull the card out
Leave with ^D or exit."""


def say(text: str) -> None:
    """Tell the user how far it is."""
    print(f"guest: {text}", file=sys.stderr, flush=True)


def parts() -> Parts:
    """Give QEMU and the kernel, fetched if need be."""
    return find(Cache(cache_folder()), say)


def environment() -> str:
    """Give shell words for the guest: `python` is this interpreter, and it finds our packages."""
    place, programs = shlex.quote(str(CHECKOUT)), shlex.quote(str(Path(sys.executable).parent))
    found = shlex.quote(":".join(str(CHECKOUT / source) for source in SOURCES))
    return f"cd {place}; export PATH={programs}:$PATH PYTHONPATH={found} PYTHONDONTWRITEBYTECODE=1"


def compile_sources() -> None:
    """Let Python write its byte code here, where that takes a second, and not the half minute of each guest."""
    for source in SOURCES:
        compileall.compile_dir(CHECKOUT / source, quiet=2)


def fetch(_: argparse.Namespace) -> int:
    """Download what is not there."""
    found = parts()
    say(f"Linux {found.release} in {found.kernel}")
    return 0


def run(options: argparse.Namespace) -> int:
    """Run a program in a guest."""
    machine = Machine(parts(), options.output / "run")
    return machine.run(f"{environment()}\n{shlex.join(options.command)}", options.timeout, to_stdout)


def test(options: argparse.Namespace) -> int:
    """Run the tests of the kernel in a guest; without arguments all, in several guests, and those of the guests."""
    compile_sources()
    if not options.command:
        return Tier(options.output, say).run(list(_all(options)))
    words = [sys.executable, "-m", "pytest", "-c", str(TESTS / "pytest.toml"), "--rootdir", str(CHECKOUT)]
    words += ["--confcutdir", str(TESTS), "--junit-xml=/run/guest/junit.xml", *options.command]
    machine = Machine(parts(), options.output / "test")
    only = "export PYTEST_DISABLE_PLUGIN_AUTOLOAD=1"
    return machine.run(
        f"{environment()}; {only}\n{shlex.join(words)}", options.timeout, to_stdout, repeatable=True
    )


def _all(options: argparse.Namespace) -> Iterator[Part]:
    python = (sys.executable, "-m")
    yield Part("boots", (*python, "pytest", "-q", "-p", "no:cacheprovider", str(BOOTS)))
    for name, tests in inside(TESTS).items():
        own = (f"--output={options.output / name}", f"--timeout={options.timeout:g}")
        yield Part(name, (*python, "guest", *own, "test", *map(str, tests)))


def shell(options: argparse.Namespace) -> int:
    """Open a shell in a guest."""
    if not sys.stdin.isatty():
        raise GuestError("a shell needs a terminal", cure="run a command with `python -m guest run`")
    machine = Machine(parts(), options.output / "shell")
    print(USAGE.format(release=machine.release, folder=machine.folder), file=sys.stderr)
    size = os.get_terminal_size()
    lines = [environment(), f"stty sane rows {size.lines} cols {size.columns}"]
    lines += [f"export TERM={shlex.quote(os.environ.get('TERM', 'vt100'))} PS1='guest:\\w# '"]
    with _terminal():
        return machine.shell("\n".join([*lines, "bash --norc -i"]))


@contextmanager
def _terminal() -> Iterator[None]:
    """Leave the terminal as it was: a QEMU that is killed does not."""
    before = termios.tcgetattr(sys.stdin)
    try:
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)


def parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    actions = {"fetch": fetch, "run": run, "test": test, "shell": shell}
    described = argparse.ArgumentParser(prog="guest", description=__doc__)
    described.add_argument("--output", type=Path, default=OUTPUT, help="folder for console and results")
    described.add_argument("--timeout", type=float, default=1500, help="seconds (default: 1500)")
    described.add_argument("action", choices=actions)
    described.add_argument(
        "command", nargs=argparse.REMAINDER, help="what run runs; what test gives to pytest"
    )
    described.set_defaults(actions=actions)
    return described


def main() -> int:
    """Return the exit code: that of the command, or 125 and one line if there is none."""
    # A signal has to end QEMU too, in an orderly way.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    options = parser().parse_args()
    try:
        code: int = options.actions[options.action](options)
    except GuestError as error:
        print(f"guest: {error}", file=sys.stderr)
        return 125
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    return code


if __name__ == "__main__":
    sys.exit(main())
