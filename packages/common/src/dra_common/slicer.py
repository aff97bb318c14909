"""Turns snapshots into slices that this API server understands, as soon as its version is known."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence

from dra_common.errors import ClusterError, SliceError
from dra_common.model import Snapshot
from dra_common.publisher.backoff import Backoff
from dra_common.slices import FeatureName, ServerFeatures, SliceContent, Withdrawn, to_slices

_log = logging.getLogger(__name__)


class Slicer:
    """Between the reconciler, which knows the devices, and the publisher, which knows the server.

    Args:
        publish: takes the contents of all slices; returns at once.
        version: asks the server for its (major, minor) version. Raises ClusterError.
    """

    def __init__(
        self,
        driver: str,
        *,
        publish: Callable[[Sequence[SliceContent]], None],
        version: Callable[[], tuple[int, int]],
    ) -> None:
        self._driver, self._publish, self._version = driver, publish, version
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._snapshot: Snapshot | None = None
        self._features: ServerFeatures | None = None
        self._withdrawn: tuple[Withdrawn, ...] = ()
        self._thread = threading.Thread(target=self._learn_version, name="server-version", daemon=True)

    def start(self) -> None:
        """Begin to ask for the server's version; until it is known nothing is published. Called once."""
        self._thread.start()

    def stop(self) -> None:
        """Stop asking."""
        self._stopping.set()

    def take(self, snapshot: Snapshot) -> None:
        """Publish this snapshot from now on."""
        with self._lock:
            self._snapshot = snapshot
            self._make()

    def without(self, features: Sequence[FeatureName]) -> None:
        """The server turned out to lack ``features``: make the slices again, safely, without them."""
        with self._lock:
            if self._features is not None:
                self._features = self._features.without(*features)
                self._make()

    def _make(self) -> None:
        if self._snapshot is None or self._features is None:
            return
        try:
            slices = to_slices(self._snapshot, driver=self._driver, features=self._features)
        except SliceError as error:
            _log.error("the slices published before stay: %s", error)
            return
        for one in slices.withdrawn:
            if one not in self._withdrawn:
                _log.warning("%s", one)
        self._withdrawn = slices.withdrawn
        self._publish(slices.contents)

    def _learn_version(self) -> None:
        backoff = Backoff()
        said = ""
        while not self._stopping.is_set():
            try:
                version = self._version()
            except ClusterError as error:
                if type(error).__name__ != said:
                    _log.warning("nothing is published until the API server tells its version: %s", error)
                said = type(error).__name__
                self._stopping.wait(backoff.next())
                continue
            _log.info("the API server is Kubernetes %d.%d", *version)
            with self._lock:
                self._features = ServerFeatures.of(version)
                self._make()
            return
