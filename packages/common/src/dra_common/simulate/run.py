"""Starting simulated machines: what a command line calls.

.. code-block:: python

    for name, description in list_profiles(simulation): ...
    profile = find_profile(simulation, "two-cards")       # or a path
    write_tree(simulation, profile, Path("/tmp/m"))       # files only, no reactions
    serve(simulation, profile, Path("/tmp/m"))            # until SIGTERM, SIGINT or a `stop` request
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType
from typing import Self

from dra_common.errors import SettingsError
from dra_common.simulate.control import ControlServer
from dra_common.simulate.device_nodes import require_device_nodes, unserved_major
from dra_common.simulate.folder import SOCKET, occupy
from dra_common.simulate.generic import generic_drivers
from dra_common.simulate.kernel import Kernel
from dra_common.simulate.profile import Profile
from dra_common.simulate.profile_file import load_profile
from dra_common.simulate.simulation import Simulation

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


def list_profiles(simulation: Simulation) -> tuple[tuple[str, str], ...]:
    """Return name and description of every profile of the driver. Raises SettingsError (a profile is broken)."""
    return tuple((name, find_profile(simulation, name).description) for name in simulation.profiles)


def find_profile(simulation: Simulation, name: str) -> Profile:
    """Load a profile by its name, or from a file (a name with ``/`` or ending in ``.yaml``).

    Raises SettingsError: unknown name (with the known ones), or file, line and field of what is wrong.
    """
    if "/" in name or name.endswith((".yaml", ".yml")):
        return load_profile(Path(name), simulation.details)
    if name not in simulation.profiles:
        known = ", ".join(simulation.profiles) or "none"
        raise SettingsError(f"no profile {name!r}", cure=f"one of {known}, or the path of a YAML file")
    return load_profile(simulation.profiles[name], simulation.details)


def write_tree(simulation: Simulation, profile: Profile, root: Path, *, device_nodes: bool = False) -> None:
    """Write ``root/sys``, ``root/dev`` and ``root/proc`` and leave. Raises SettingsError as :class:`Simulator` does."""
    with occupy(root, profile.name):
        _boot(simulation, profile, root, device_nodes=device_nodes)


class Simulator:
    """A simulated machine in this process, from ``with`` to the end of the block.

    Args:
        simulation: the driver's part.
        profile: the machine.
        root: an empty or new folder, or one that a simulator used before (its tree is then made anew).
        device_nodes: make real character devices, which no driver serves; needs root.

    Entering raises SettingsError: the folder holds other things or is in use, its path is too long for a socket, the
    profile cannot be set up, device nodes are not permitted.
    """

    def __init__(
        self, simulation: Simulation, profile: Profile, root: Path, *, device_nodes: bool = False
    ) -> None:
        self._simulation = simulation
        self._profile = profile
        self._root = root.absolute()
        self._device_nodes = device_nodes
        self._stack = ExitStack()
        self._server: ControlServer | None = None

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.enter_context(occupy(self._root, self._profile.name))
            kernel = _boot(self._simulation, self._profile, self._root, device_nodes=self._device_nodes)
            self._server = server = ControlServer(kernel, self._root / SOCKET)
            stack.callback(server.close)
            server.start()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def wait(self) -> None:
        """Return when somebody asked the simulator to end."""
        if self._server:
            self._server.stopped.wait()

    def stop(self) -> None:
        """Let :meth:`wait` return; for signal handlers and other threads."""
        if self._server:
            self._server.stopped.set()


def serve(
    simulation: Simulation,
    profile: Profile,
    root: Path,
    *,
    device_nodes: bool = False,
    ready: Callable[[], None] | None = None,
) -> None:
    """Be the kernel behind ``root`` until SIGTERM, SIGINT or a ``stop`` request; ``ready`` is called when it listens.

    For the main thread of a process. Raises SettingsError as :class:`Simulator` does. The tree stays, the socket goes.
    """
    with (
        Simulator(simulation, profile, root, device_nodes=device_nodes) as simulator,
        _until_signal(simulator.stop),
    ):
        if ready:
            ready()
        simulator.wait()


@contextmanager
def _until_signal(stop: Callable[[], None]) -> Iterator[None]:
    def handler(_number: int, _frame: FrameType | None) -> None:
        # Event.set() takes a lock that the interrupted main thread may hold in wait().
        threading.Thread(target=stop).start()

    before = [(number, signal.signal(number, handler)) for number in _SIGNALS]
    try:
        yield
    finally:
        for number, old in before:
            signal.signal(number, old)


def _boot(simulation: Simulation, profile: Profile, root: Path, *, device_nodes: bool) -> Kernel:
    major = unserved_major() if device_nodes else None
    if major is not None:
        require_device_nodes(root, major)
    known = {driver.key: driver for driver in (*generic_drivers(), *simulation.kernel_drivers)}
    kernel = Kernel(profile, root, known, simulation.details, node_major=major)
    kernel.boot()
    return kernel
