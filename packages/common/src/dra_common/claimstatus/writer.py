"""The thread that writes ``status.devices``; whoever has something to tell never waits for it."""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import quote

from dra_common.claimstatus.content import Identity, Report, with_report
from dra_common.errors import ClusterError, Conflict, Forbidden, Invalid, NotFound, Throttled
from dra_common.pacing import Backoff
from dra_common.ports import ApiServer
from dra_common.telemetry import CLAIM_STATUSES, SILENT, Counts

_log = logging.getLogger(__name__)

_MOST_WAITING: Final = 512
"""Claims; of more the oldest are not told of. A node has some hundred pods."""
_TRIES: Final = 5
"""At a claim that others change at the same time: the scheduler, controllers, other drivers."""
_JOIN_SECONDS: Final = 1.0


class Writer:
    """Tells in the API what became of claims.

    Best effort: the newest report of a claim counts, what cannot be written now waits, and without the right to write
    one line says so, and nothing is sent until the next start.

    Args:
        driver: whose entries they are.
        node: whose pool they are of.
        facts: what is known of the devices of a prepared claim; None = it is not prepared any more.
        backoff: pauses after the API server did not take a report.
    """

    def __init__(
        self,
        api: ApiServer,
        *,
        driver: str,
        node: str,
        facts: Callable[[str], Mapping[Identity, Mapping[str, Any]] | None],
        counts: Counts = SILENT,
        backoff: Backoff | None = None,
    ) -> None:
        self._api, self._driver, self._node = api, driver, node
        self._facts, self._counts = facts, counts
        self._backoff = backoff or Backoff(5.0, 300.0)
        self._wake = threading.Condition()  # guards the next two
        self._waiting: OrderedDict[str, Report] = OrderedDict()
        self._off = False
        self._told = False
        self._thread = threading.Thread(target=self._run, name="claim-status", daemon=True)

    def start(self) -> None:
        """Begin to write, also what was told before. Called once."""
        self._thread.start()

    def stop(self) -> None:
        """Write nothing more; what waits is dropped. Fine if called again."""
        with self._wake:
            self._off = True
            self._wake.notify_all()
        if self._thread.is_alive():
            self._thread.join(_JOIN_SECONDS)

    def tell(self, report: Report) -> None:
        """Write it, some time; in place of an older one of the claim. Never blocks, never raises."""
        with self._wake:
            if self._off:
                return
            self._waiting.pop(report.ref.uid, None)
            self._waiting[report.ref.uid] = report
            if len(self._waiting) > _MOST_WAITING:
                self._waiting.popitem(last=False)
            self._wake.notify_all()

    def forget(self, uid: str) -> None:
        """Do not write what waits of this claim. Never blocks, never raises."""
        with self._wake:
            self._waiting.pop(uid, None)

    def _run(self) -> None:
        while (report := self._next()) is not None:
            try:
                self._done(self._write(report))
            except NotFound:
                self._done("over")
            except Forbidden as error:
                self._done("dropped")
                self._give_up(str(error))
            except (Conflict, Invalid) as error:
                self._drop(error)
            except ClusterError as error:
                self._again(report, error)
            except Exception:  # noqa: BLE001 - a defect of ours must not cost the reports to come
                _log.exception("the status of claim %s was not written", report.ref)

    def _next(self) -> Report | None:
        with self._wake:
            while not self._off and not self._waiting:
                self._wake.wait()
            return None if self._off else self._waiting.popitem(last=False)[1]

    def _write(self, report: Report) -> str:
        """Bring the claim up to date; returns what became of it. Raises ClusterError."""
        if report.ready:
            facts = self._facts(report.ref.uid)
            if facts is None:
                return "over"
            report = replace(report, data=facts)
        for _ in range(_TRIES - 1):
            with suppress(Conflict):
                return self._write_once(report)
        return self._write_once(report)

    def _write_once(self, report: Report) -> str:
        path = (
            f"/apis/resource.k8s.io/v1/namespaces/{quote(report.ref.namespace, safe='')}"
            f"/resourceclaims/{quote(report.ref.name, safe='')}"
        )
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        new = with_report(self._api.get(path), report, driver=self._driver, pool=self._node, now=now)
        if new is None:
            return "unchanged"
        stored = self._api.replace(f"{path}/status", new)
        if not (stored.get("status") or {}).get("devices"):
            self._give_up("the API server does not store it (feature gate DRAResourceClaimDeviceStatus)")
            return "dropped"
        return "written"

    # ------------------------------------------------------------------ what became of it

    def _done(self, result: str) -> None:
        self._counts.count(CLAIM_STATUSES, result=result)
        self._backoff.reset()
        self._told = False

    def _give_up(self, why: str) -> None:
        _log.warning("no status is written into ResourceClaims until the next start: %s", why)
        with self._wake:
            self._off = True
            self._waiting.clear()

    def _drop(self, error: ClusterError) -> None:
        self._counts.count(CLAIM_STATUSES, result="dropped")
        self._tell("the status of a ResourceClaim was not written: %s", error)

    def _again(self, report: Report, error: ClusterError) -> None:
        """Let it wait with the others, unless there is a newer one; the API server gets a rest."""
        self._counts.count(CLAIM_STATUSES, result="failed")
        self._tell("the status of ResourceClaims waits for the API server: %s", error)
        with self._wake:
            self._waiting.setdefault(report.ref.uid, report)
            pause = self._backoff.next()
            until = time.monotonic() + max(pause, error.retry_after if isinstance(error, Throttled) else 0.0)
            while not self._off and (left := until - time.monotonic()) > 0:
                self._wake.wait(left)

    def _tell(self, text: str, error: ClusterError) -> None:
        """Log the first of a row of troubles; the others are debug lines."""
        _log.log(logging.DEBUG if self._told else logging.INFO, text, error)
        self._told = True
