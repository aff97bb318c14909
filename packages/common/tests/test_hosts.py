"""How long a start waits for a simulated machine to boot; which machine it is, test_cli and test_app tell."""

from __future__ import annotations

import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
from dra_common import hosts
from dra_common.hosts import await_power
from dra_common.settings import HostSettings
from dra_common.simulate.folder import SOCKET

SECONDS = 60.0


def listening(path: Path) -> socket.socket:
    """Listen as a simulator does; its socket file stays, and nobody is behind it, when it is killed."""
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    made.settimeout(SECONDS)
    made.bind(str(path))
    made.listen()
    return made


def test_a_machine_whose_simulator_was_killed_is_waited_for_until_it_has_another(short_tmp: Path) -> None:
    listening(short_tmp / SOCKET).close()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(await_power, HostSettings(simulated_root=short_tmp))
        with closing(listening(short_tmp / "new")) as simulator:
            (short_tmp / "new").rename(short_tmp / SOCKET)
            simulator.accept()[0].close()  # nobody comes who has not waited
            waiting.result(SECONDS)


def test_a_machine_that_never_boots_is_not_waited_for_for_ever(
    short_tmp: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hosts, "POWER_ON_SECONDS", 0.2)
    listening(short_tmp / SOCKET).close()
    await_power(HostSettings(simulated_root=short_tmp))
    assert (short_tmp / SOCKET).is_socket()


@pytest.mark.parametrize("simulated", [True, False])
def test_a_machine_without_a_simulator_is_not_waited_for(
    short_tmp: Path, monkeypatch: pytest.MonkeyPatch, *, simulated: bool
) -> None:
    """A real one, and the files alone of a simulated one (``simulate --once``)."""
    monkeypatch.setattr(hosts, "POWER_ON_SECONDS", 1e6)
    await_power(HostSettings(simulated_root=short_tmp if simulated else None))
    assert list(short_tmp.iterdir()) == []
