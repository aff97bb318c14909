"""DeviceTaintRules that the driver left which this one replaces.

Intel's Go driver for Gaudi makes one for each device that becomes unhealthy, ``<driver>-<node>-<device uid>``, and
never removes it: the device stays tainted for ever, whatever its slice says. This driver taints in the slice. It tells
of such rules, and removes them where the operator lets it.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from typing import Any, Final

from dra_common.errors import ClusterError, Forbidden, NotFound
from dra_common.pacing import Backoff
from dra_common.ports import ApiServer
from dra_common.telemetry import SILENT, Reason, Tells

_log = logging.getLogger(__name__)

_VERSIONS: Final = ("v1", "v1beta2", "v1alpha3")
"""API versions of the kind (KEP-5055); a server has some of them, or none."""
_JOIN_SECONDS: Final = 1.0


class OldTaintRules:
    """Looks for them once, as soon as the API server answers.

    Args:
        driver: whose they are, ``gaudi.intel.com``; the same name as ours.
        node: the Node's name, and the pool's.
        remove: whether they are removed; asked when they are found.
        tells: hears of each.
        backoff: pauses while the API server does not answer.
    """

    def __init__(
        self,
        api: ApiServer,
        driver: str,
        node: str,
        *,
        remove: Callable[[], bool],
        tells: Tells = SILENT,
        backoff: Backoff | None = None,
    ) -> None:
        self._api, self._driver, self._node = api, driver, node
        self._remove, self._tells = remove, tells
        self._backoff = backoff or Backoff(5.0, 300.0)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self.run, name="old-taint-rules", daemon=True)

    def start(self) -> None:
        """Begin to look. Called once."""
        self._thread.start()

    def stop(self) -> None:
        """End at once; fine if called again."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join(_JOIN_SECONDS)

    def run(self) -> None:
        """Look until there was an answer; what the thread does."""
        while not self._stopped.is_set():
            try:
                self._look()
            except Forbidden as error:
                _log.info("DeviceTaintRules of a driver before this one are not looked for: %s", error)
            except ClusterError as error:
                _log.debug("DeviceTaintRules cannot be looked for yet: %s", error)
                self._stopped.wait(self._backoff.next())
                continue
            except Exception:  # noqa: BLE001 - a defect of ours: nothing else depends on this
                _log.exception("DeviceTaintRules were not looked for")
            return

    def _look(self) -> None:
        """Go through the rules of the first version that the server has. Raises ClusterError."""
        for version in _VERSIONS:
            path = f"/apis/resource.k8s.io/{version}/devicetaintrules"
            try:
                found = self._api.list(path)
            except NotFound:
                continue
            for rule in filter(self._is_old, found.get("items", ())):
                self._settle(f"{path}/{rule['metadata']['name']}", rule)
            return

    def _is_old(self, rule: Mapping[str, Any]) -> bool:
        """Whether that driver made it, for a device of this node: by its name, and by what it says."""
        selector = (spec := rule.get("spec") or {}).get("deviceSelector") or {}
        taint = spec.get("taint") or {}
        return (
            str(rule["metadata"]["name"]).startswith(f"{self._driver}-{self._node}-")
            and (selector.get("driver"), selector.get("pool")) == (self._driver, self._node)
            and taint.get("key") == f"{self._driver}/unhealthy"
        )

    def _settle(self, path: str, rule: Mapping[str, Any]) -> None:
        name, device = rule["metadata"]["name"], rule["spec"]["deviceSelector"].get("device", "all devices")
        if not self._remove():
            self._tell(
                f"DeviceTaintRule {name} of a driver before this one taints {device} whatever its health is "
                f"(remove it with `kubectl delete devicetaintrule {name}`, or set --remove-old-taint-rules)"
            )
            return
        try:
            self._api.delete(path, uid=rule["metadata"].get("uid"))
        except NotFound:
            return
        except Forbidden as error:
            self._tell(f"DeviceTaintRule {name}, which taints {device}, cannot be removed: {error}")
            return
        _log.info(
            "DeviceTaintRule %s of a driver before this one, which tainted %s, is removed", name, device
        )

    def _tell(self, text: str) -> None:
        _log.warning("%s", text)
        self._tells.event(Reason.OLD_TAINT_RULE, text)
