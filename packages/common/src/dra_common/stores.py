"""Opens what a driver keeps on disk; the same for ``run`` and for the commands that look after it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dra_common.cdi import SharedSpecDir, SpecDir
from dra_common.driver import Driver
from dra_common.errors import DraError
from dra_common.holds import FileHolds
from dra_common.lifecycle import State
from dra_common.locks import FileLocks
from dra_common.model import ParentMode
from dra_common.modes import Modes
from dra_common.parents import FileParents
from dra_common.ports import Host
from dra_common.records import FileRecords, claims_folder
from dra_common.settings import Settings


def data_folder(settings: Settings, driver: Driver[Any]) -> Path:
    """Return the folder of a driver's own data, below the kubelet's folder of plugins."""
    return settings.kubelet_plugins_dir / driver.name


def cordons_folder(data: Path) -> Path:
    """Where the cordons of devices are."""
    return data / "cordoned"


def modes_seen(data: Path, host: Host) -> Mapping[str, ParentMode]:
    """Return the parents that are in a mode, as far as this process may read it."""
    folder = data / "hardware"
    try:
        if folder.is_dir():
            return Modes(FileParents(folder), FileRecords(claims_folder(data)), host.boot_id()).seen()
    except (DraError, OSError):
        pass
    return {}


def turn_file(data: Path) -> Path:
    """The lock of who publishes, by which that instance can also be asked to look at the machine."""
    return data / "publish.lock"


def open_state(settings: Settings, driver: Driver[Any]) -> State:
    """Open records, holds and CDI files; makes the folders of the first two. Raises StateError."""
    data = data_folder(settings, driver)
    return State(
        FileRecords(claims_folder(data)),
        FileHolds(data / "held"),
        SpecDir(
            settings.cdi_dynamic_root,
            driver.cdi_vendor,
            driver.cdi_classes,
            data / "dra-device-metadata",
        ),
        SharedSpecDir(
            settings.cdi_dynamic_root,
            settings.cdi_root,
            data / "adopted",
            driver.cdi_vendor,
            driver.cdi_classes,
        ),
        FileParents(data / "hardware"),
    )


def open_locks(settings: Settings, driver: Driver[Any]) -> FileLocks:
    """Open the locks of claims and of hardware. Raises StateError."""
    data = data_folder(settings, driver)
    return FileLocks(claims_folder(data), data / "hardware")
