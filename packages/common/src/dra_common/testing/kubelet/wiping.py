"""When a kubelet deletes ResourceSlices: all of the node's when it starts, a driver's when it stays out of reach."""

from __future__ import annotations

import http.client
import time
from collections.abc import Callable, Mapping
from typing import Final
from urllib.parse import urlencode, urlsplit

WipeSlices = Callable[[str | None], None]
"""Deletes the node's ResourceSlices of one driver, or of all drivers (None). May raise OSError: it is tried again."""

_RETRY_SECONDS: Final = 1.0
_API_SECONDS: Final = 10.0
_SLICES: Final = "/apis/resource.k8s.io/v1/resourceslices"


def api_wiper(base_url: str, node_name: str) -> WipeSlices:
    """Return a wipe by DELETE of the collection on a plain-HTTP API server (``http://127.0.0.1:8001``)."""

    def wipe(driver: str | None) -> None:
        selector = f"spec.nodeName={node_name}" + (f",spec.driver={driver}" if driver else "")
        status = _delete(base_url, f"{_SLICES}?{urlencode({'fieldSelector': selector})}")
        if status != http.client.OK:
            raise OSError(f"DELETE of ResourceSlices with {selector}: HTTP {status}")

    return wipe


def _delete(base_url: str, path: str) -> int:
    url = urlsplit(base_url)
    connection = http.client.HTTPConnection(url.hostname or "", url.port, timeout=_API_SECONDS)
    try:
        connection.request("DELETE", url.path.rstrip("/") + path)
        response = connection.getresponse()
        response.read()
        return response.status
    finally:
        connection.close()


class Wiper:
    """Decides; used by one thread.

    Args:
        wipe: does it.
        delay: seconds that a driver may be out of reach.
        clock: seconds, never going back.
    """

    def __init__(self, wipe: WipeSlices, delay: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._wipe = wipe
        self._clock = clock
        self._delay = delay
        self._unusable_since: dict[str, float] = {}
        self._due: dict[str | None, float] = {}

    def kubelet_started(self) -> None:
        """Everything of this node goes, now; what was known of drivers is forgotten."""
        self._unusable_since.clear()
        self._due = {None: self._clock()}
        self._wipe_due()

    def look(self, usable: Mapping[str, bool]) -> None:
        """Take note which of the drivers ever registered are usable now, and wipe what is due."""
        now = self._clock()
        for driver, is_usable in usable.items():
            if is_usable:
                self._unusable_since.pop(driver, None)
                self._due.pop(driver, None)
            elif driver not in self._unusable_since:
                self._unusable_since[driver] = now
                self._due[driver] = now + self._delay
        self._wipe_due()

    def _wipe_due(self) -> None:
        now = self._clock()
        for driver in [driver for driver, moment in self._due.items() if moment <= now]:
            try:
                self._wipe(driver)
            except (OSError, http.client.HTTPException):
                self._due[driver] = now + _RETRY_SECONDS
            else:
                del self._due[driver]
