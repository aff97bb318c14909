"""This node's claims as the commands that look after them open them: with or without a running driver."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from dra_common.definition import Definition
from dra_common.errors import SettingsError
from dra_common.hosts import open_host
from dra_common.lifecycle import Lifecycle, State
from dra_common.ports import Host, Locks
from dra_common.records import claims_folder
from dra_common.settings import Settings
from dra_common.stores import data_folder, open_locks, open_state


@dataclass(frozen=True, slots=True)
class Node:
    """What is on disk, and the machine that it is about."""

    host: Host
    state: State
    locks: Locks
    lifecycle: Lifecycle[Any]


class _Nobody:
    """There is no reconciler in a command; a running driver's next look finds what was changed."""

    def ring(self, reason: str) -> None:
        """Do nothing."""

    def freed(self, devices: Collection[str]) -> None:
        """Do nothing."""


def open_node(definition: Definition, settings: Settings) -> Node:
    """Open it all. Raises SettingsError if the driver has never run here, HostError, StateError."""
    driver = definition.driver
    folder = claims_folder(data_folder(settings, driver))
    if not folder.is_dir():
        msg = f"{folder}: the driver has never run with this folder"
        raise SettingsError(msg, cure="name the kubelet's plugin folder with --kubelet-plugins-dir")
    host = open_host(settings.host)
    state = open_state(settings, driver)
    lifecycle = Lifecycle(driver, host, state, _Nobody(), host.boot_id())
    return Node(host, state, open_locks(settings, driver), lifecycle)
