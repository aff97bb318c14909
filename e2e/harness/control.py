"""Starting, ending, freezing and watching the components of one cluster."""

import re
import signal
from collections.abc import Mapping
from pathlib import Path

from harness import components
from harness.errors import HarnessError
from harness.health import serves
from harness.sandbox import Sandbox
from harness.settings import Settings
from harness.waiting import wait_for

START = 90.0
STOP = 60.0
# As klog, containerd, etcd, cobra and Go itself begin or mark what is an error.
ERROR = re.compile(
    r'^[EF]\d{4} |level=(error|fatal)|"level":"(error|fatal)"|^containerd: |[Ee]rror: |^panic: '
)


class Control:
    """The components by name: those of ``harness.components.NAMES``."""

    def __init__(self, sandbox: Sandbox, settings: Settings) -> None:
        self.settings = settings
        self._sandbox = sandbox
        self._flags: dict[str, Mapping[str, str]] = {}

    def spawn(self, name: str) -> None:
        """Start a component, without waiting for it."""
        command = components.command(_known(name), self.settings, self._flags.get(name, {}))
        self._sandbox.start(name, command)

    def start(self, name: str) -> None:
        """Start a component that does not run, and wait until it serves."""
        self.spawn(name)
        self.wait_serving(name)

    def kill(self, name: str, number: signal.Signals = signal.SIGKILL) -> None:
        """Send a component a signal that ends it, and wait until it is gone. The node's containers go on."""
        self._sandbox.signal(_known(name), number)
        wait_for(lambda: not self.running(name), f"{name} to end", STOP)

    def stop(self, name: str) -> None:
        """End a component in good order."""
        self.kill(name, signal.SIGTERM)

    def restart(self, name: str, flags: Mapping[str, str] | None = None) -> None:
        """End a component and start it again; ``flags`` are more of them from now on, none with ``{}``."""
        self.stop(name)
        if flags is not None:
            self._flags[name] = flags
        self.start(name)

    def pause(self, name: str) -> None:
        """Freeze a component: its connections stay open, and nobody answers."""
        self._sandbox.signal(_known(name), signal.SIGSTOP)

    def resume(self, name: str) -> None:
        """Let a frozen component go on."""
        self._sandbox.signal(_known(name), signal.SIGCONT)

    def restore(self) -> None:
        """Resume and start whatever a test left frozen or dead."""
        for name in components.NAMES:
            self.resume(name)
            if not self.running(name):
                self.start(name)

    def running(self, name: str) -> bool:
        """Whether the process of a component that was started lives."""
        return self._sandbox.exit_code(_known(name)) is None

    def pid(self, name: str) -> int:
        """Give the process id of a component on the host, for ``/proc/PID/status`` and the like."""
        inside = int(self._sandbox.ask("status", name=_known(name))["pid"])
        return self._sandbox.host_pid(inside)

    def log(self, name: str) -> Path:
        """Give the log of a component, on the host."""
        return self.settings.logs / f"{name}.log"

    def wait_serving(self, name: str, timeout: float = START) -> None:
        """Wait until a component serves. Raises ``HarnessError`` with the reason in its log if it dies first."""

        def serving() -> bool:
            self.check_alive(name)
            return serves(self._sandbox, name)

        wait_for(serving, f"{name} to serve; its log is {self.log(name)}", timeout)

    def check_alive(self, name: str) -> None:
        """Raise ``HarnessError`` with the reason in its log if a component has ended."""
        code = self._sandbox.exit_code(_known(name))
        if code is not None:
            log = self.log(name)
            raise HarnessError(
                f"{name} died at start, exit code {code}: {reason(log)}", cure=f"its log is {log}"
            )


def _known(name: str) -> str:
    if name not in components.NAMES:
        raise HarnessError(f"no component {name!r}", cure=f"one of {', '.join(components.NAMES)}")
    return name


def reason(log: Path) -> str:
    """Give the line of a log that most likely says why a program ended: its last error, or its last line."""
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    said = [line for line in lines if ERROR.search(line)]
    return (said or lines or ["it said nothing"])[-1].strip()[:500]
