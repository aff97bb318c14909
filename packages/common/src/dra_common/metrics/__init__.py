"""Prometheus metrics, and the HTTP endpoint that serves them and the probes.

Only this package imports ``prometheus_client``; the composition root imports it when an endpoint is asked for.
"""

from dra_common.metrics.endpoint import Answer, HttpEndpoint
from dra_common.metrics.registry import Metrics
from dra_common.metrics.routes import routes

__all__ = ["Answer", "HttpEndpoint", "Metrics", "routes"]
