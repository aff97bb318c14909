"""The API server as this project uses it; the only place that imports ``kubernetes``."""

# ruff: noqa: E402 - what is skipped has to be said before anything below imports it

from dra_common.cluster.lean import skip_init

skip_init("kubernetes", "kubernetes.config", "kubernetes.utils")

from dra_common.cluster.claims import ClusterClaims
from dra_common.cluster.client import ClusterClient
from dra_common.cluster.config import connect
from dra_common.cluster.nodes import node_uid
from dra_common.cluster.version import ServerVersion, server_version
from dra_common.cluster.watch import Watch

__all__ = [
    "ClusterClaims",
    "ClusterClient",
    "ServerVersion",
    "Watch",
    "connect",
    "node_uid",
    "server_version",
]
