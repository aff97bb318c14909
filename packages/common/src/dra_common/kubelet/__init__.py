"""The side that faces the kubelet: plugin registration v1, DRA v1 and health over gRPC.

:class:`~dra_common.kubelet.plugin.KubeletPlugin` listens on the two sockets that a kubelet (1.34 and newer) calls;
:class:`~dra_common.kubelet.health.HealthServer` answers probes. Only this package and ``dra_common.testing`` use grpc.
"""

from dra_common.kubelet.health import HealthServer
from dra_common.kubelet.plugin import KubeletPlugin
from dra_common.kubelet.registration import RegistrationStatus
from dra_common.kubelet.rivals import find_rival
from dra_common.kubelet.sockets import SocketPaths

__all__ = ["HealthServer", "KubeletPlugin", "RegistrationStatus", "SocketPaths", "find_rival"]
