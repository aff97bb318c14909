"""What a kubelet knows of the health of devices (kubelet, ``pkg/kubelet/cm/dra``: ``plugin`` and ``healthinfo``)."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import grpc

from dra_common.kubelet._generated import drahealth_v1_pb2, drahealth_v1alpha1_pb2

V1: Final = "v1.DRAResourceHealth"
V1ALPHA1: Final = "v1alpha1.DRAResourceHealth"

_MESSAGES: Mapping[str, Any] = {V1: drahealth_v1_pb2, V1ALPHA1: drahealth_v1alpha1_pb2}
_LONGEST_MESSAGE: Final = 1024


@dataclass(frozen=True, slots=True)
class HealthRules:
    """How this kubelet deals with health; those of Kubernetes 1.37 unless set otherwise.

    Args:
        versions: services that it knows, the preferred one first; empty = its feature gate is off.
        retry: seconds until a stream that ended is opened again.
        timeout: seconds after which a device that nothing was heard of is unknown, if the driver does not say.
        obeys_timeouts: whether it matters what the driver says (from 1.35 on).
        gives_up: a driver without the service is not asked again (from 1.37 on).
    """

    versions: Sequence[str] = (V1, V1ALPHA1)
    retry: float = 5.0
    timeout: float = 30.0
    obeys_timeouts: bool = True
    gives_up: bool = True


@dataclass(frozen=True, slots=True)
class SeenHealth:
    """What a pod's status says of a device: ``Healthy``, ``Unhealthy`` or ``Unknown``, and a message."""

    status: str = "Unknown"
    message: str = ""


@dataclass(frozen=True, slots=True)
class _Entry:
    seen: SeenHealth
    until: float


class HealthCache:
    """The last word on every device of every driver."""

    def __init__(self, changed: threading.Condition) -> None:
        self._changed = changed
        self._drivers: dict[str, dict[tuple[str, str], _Entry]] = {}
        self.responses: dict[str, int] = {}
        """Driver -> how many responses have come, over all streams."""

    def get(self, driver: str, pool: str, device: str) -> SeenHealth:
        """Return what is known now; what is too old is not."""
        with self._changed:
            entry = self._drivers.get(driver, {}).get((pool, device))
        return entry.seen if entry and time.monotonic() < entry.until else SeenHealth()

    def take(self, driver: str, devices: Mapping[tuple[str, str], _Entry]) -> None:
        """Take in a response, which may tell of some devices only."""
        with self._changed:
            self._drivers.setdefault(driver, {}).update(devices)
            self.responses[driver] = self.responses.get(driver, 0) + 1
            self._changed.notify_all()

    def forget(self, driver: str) -> None:
        """Its stream ended."""
        with self._changed:
            self._drivers.pop(driver, None)
            self._changed.notify_all()


class HealthWatch:
    """Follows the stream of one driver's instance until :meth:`stop`."""

    def __init__(
        self, driver: str, channel: grpc.Channel, service: str, cache: HealthCache, rules: HealthRules
    ) -> None:
        self._driver, self._cache, self._rules = driver, cache, rules
        self._pb = _MESSAGES[service]
        self._call = channel.unary_stream(
            f"/{service}/NodeWatchResources",
            request_serializer=self._pb.NodeWatchResourcesRequest.SerializeToString,
            response_deserializer=self._pb.NodeWatchResourcesResponse.FromString,
        )
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="fake-kubelet-health", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Say that it is over; closing the channel, or the driver's end, ends the stream."""
        self._stopping.set()

    def _run(self) -> None:
        again = True
        while again:
            again = self._follow()
            self._cache.forget(self._driver)
            if self._stopping.wait(self._rules.retry):
                return

    def _follow(self) -> bool:
        """Take in one stream to its end; returns whether to open another."""
        try:
            for response in self._call(self._pb.NodeWatchResourcesRequest()):
                self._cache.take(self._driver, dict(self._entries(response)))
        except grpc.RpcError as error:
            return not (self._rules.gives_up and error.code() is grpc.StatusCode.UNIMPLEMENTED)
        except ValueError:  # the channel was closed
            return not self._stopping.is_set()
        return True

    def _entries(self, response: Any) -> Iterator[tuple[tuple[str, str], _Entry]]:  # noqa: ANN401 - either version
        for one in response.devices:
            told = one.health_check_timeout_seconds if self._rules.obeys_timeouts else 0
            until = time.monotonic() + (told if told > 0 else self._rules.timeout)
            status = self._pb.HealthStatus.Name(one.health).title()
            seen = SeenHealth(status, _cut(one.message))
            yield (one.device.pool_name, one.device.device_name), _Entry(seen, until)


def choose(announced: Sequence[str], rules: HealthRules) -> str:
    """Return the service that a kubelet opens, "" if none: the first that it prefers of those announced."""
    return next((version for version in rules.versions if version in announced), "")


def _cut(message: str) -> str:
    data = message.encode()
    return message if len(data) <= _LONGEST_MESSAGE else data[:1021].decode(errors="ignore") + "..."
