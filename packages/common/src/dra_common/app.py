"""The composition root of ``run``: every adapter is chosen here, started in order and stopped in reverse.

.. code-block:: text

    start: state folders -> recovery -> first look at the machine -> DRA socket -> registration socket -> publisher
    stop:  registration and DRA sockets -> reconciler -> publisher; ResourceSlices stay
"""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from dra_common.cdi import SpecDir
from dra_common.cluster import ClusterClaims, connect, node_uid, server_version
from dra_common.definition import Definition
from dra_common.engine import Engine
from dra_common.holds import FileHolds
from dra_common.hosts import open_host, open_uevents
from dra_common.inventory import Inventory, revert_failed_taint
from dra_common.kubelet import HealthServer, KubeletPlugin
from dra_common.lifecycle import Lifecycle, State
from dra_common.locks import FileLocks
from dra_common.model import Snapshot, Taint
from dra_common.ports import ApiServer, Host
from dra_common.publisher import Publisher
from dra_common.readiness import Readiness
from dra_common.reconciler import Reconciler
from dra_common.records import FileRecords
from dra_common.recovery import Recovery, failed_devices
from dra_common.settings import Settings

_log = logging.getLogger(__name__)

_GRACE = 10.0
"""Seconds that calls in flight have to finish when the process is asked to stop."""


def run(definition: Definition, settings: Settings, version: str) -> None:
    """Serve the kubelet until SIGTERM, SIGINT, SIGHUP or SIGQUIT. Raises DraError if it cannot start."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, lambda *_: stop.set())
    _log.info("%s %s on node %s", definition.driver.name, version, settings.node_name)
    with ExitStack() as stack:
        App(definition, settings, stack).start()
        stop.wait()
        _log.info("asked to stop: finishing calls in flight; ResourceSlices stay")
