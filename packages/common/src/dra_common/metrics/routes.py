"""What the endpoint answers: ``/metrics``, ``/healthz``, ``/readyz``."""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4

from dra_common.metrics.endpoint import Answer, Route
from dra_common.metrics.registry import Metrics
from dra_common.readiness import Readiness

_OK, _UNAVAILABLE = 200, 503


def routes(metrics: Metrics, readiness: Readiness, *, wait: float = 5.0) -> Mapping[str, Route]:
    """Return path -> what answers it. Only ``/metrics`` reads from disk; a probe never waits for a scrape.

    A scrape waits ``wait`` seconds for the one before it.
    """
    return {
        "/metrics": lambda: _metrics(metrics, wait),
        "/healthz": lambda: _healthz(readiness),
        "/readyz": lambda: _readyz(readiness),
    }


def _metrics(metrics: Metrics, wait: float) -> Answer:
    text = metrics.expose(wait)
    if text is None:
        return Answer(_UNAVAILABLE, b"another scrape is still being answered\n")
    return Answer(_OK, text, CONTENT_TYPE_PLAIN_0_0_4)


def _healthz(readiness: Readiness) -> Answer:
    """Alive: nothing is broken that only a new start can mend."""
    why = readiness.why_dead()
    return Answer(_UNAVAILABLE, f"{why}\n".encode()) if why else Answer(_OK, b"ok\n")


def _readyz(readiness: Readiness) -> Answer:
    """Every condition by name, and why it is not met; the marks are those of the API server's own ``/readyz``."""
    states: dict[str, str] = {str(name): why for name, why in readiness.conditions().items()}
    states["alive"] = readiness.why_dead()
    lines = [f"[-]{name}: {why}" if why else f"[+]{name} ok" for name, why in states.items()]
    ready = not any(states.values())
    lines.append("ready" if ready else "not ready")
    return Answer(_OK if ready else _UNAVAILABLE, "\n".join([*lines, ""]).encode())
