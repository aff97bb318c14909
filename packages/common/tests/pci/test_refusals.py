from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from dra_common import effects
from dra_common.effects import Step, Target
from dra_common.errors import HardwareRefused
from dra_common.pci import Bus
from dra_common.testing.nic import PF
from pci.world import World


@pytest.mark.parametrize(
    ("step", "number", "why"),
    [
        ("bind", errno.EAGAIN, "probed later"),
        ("bind", errno.EINVAL, "enable the IOMMU"),
        ("bind", errno.EIO, "kernel log"),
        ("numvfs", errno.ENOMEM, "no room.*firmware"),
        ("numvfs", errno.ENOSPC, "no resources left"),
        ("numvfs", errno.EUCLEAN, "provisioning"),
        ("numvfs", errno.EIO, "kernel log"),
        ("numvfs", errno.ENODEV, "does not run as PF"),
        ("numvfs", errno.EPROTO, "Protocol error"),
        ("autoprobe", errno.EINVAL, "does not take this value"),
        ("reset", errno.EINVAL, "does not take this value"),
        ("probe", errno.EINVAL, "look for a driver failed"),
        ("override", errno.EROFS, "Read-only file system"),
    ],
)
def test_what_only_other_hardware_refuses(nic: World, step: str, number: int, why: str) -> None:
    acts: dict[str, Callable[[Bus], None]] = {
        "bind": lambda bus: bus.bind(PF, "igb"),
        "numvfs": lambda bus: bus.set_vfs(PF, 1),
        "autoprobe": lambda bus: bus.set_autoprobe(PF, on=False),
        "reset": lambda bus: bus.reset(PF),
        "probe": lambda bus: bus.probe(PF),
        "override": lambda bus: bus.set_override(PF, "x"),
    }

    @contextmanager
    def refuse(made: Step, target: Target) -> Iterator[None]:
        if made == "hardware":
            raise OSError(number, "refused")
        yield

    with nic.bus() as bus:
        effects.observe(refuse)
        try:
            with pytest.raises(HardwareRefused, match=why) as caught:
                acts[step](bus)
        finally:
            effects.observe(None)
    assert caught.value.errno == number
    assert str(caught.value).startswith(f"{PF}: ")
