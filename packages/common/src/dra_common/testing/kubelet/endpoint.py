"""The one connection a kubelet keeps to a DRA socket, and the rules by which it judges the answers."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import grpc

from dra_common.kubelet._generated import dra_v1_pb2 as pb
from dra_common.kubelet._generated.dra_v1_pb2_grpc import DRAPluginStub
from dra_common.model import ClaimRef, PreparedDevice
from dra_common.testing.kubelet.answers import ClaimAnswer, KubeletCallError
from dra_common.testing.kubelet.handshake import OWN_CONNECTION
from dra_common.testing.kubelet.health import HealthCache, HealthRules, HealthWatch

_OPTIONS: Final = [
    OWN_CONNECTION,
    # A kubelet connects again at once. The least pause is left alone: gRPC takes it for how long connecting may take.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
]

_READY: Final = grpc.ChannelConnectivity.READY.value[0]


class Endpoint:
    """Connects eagerly and again after every loss, as long as it is looked after."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.connected = False
        self._idle = threading.Condition()
        self._calls = 0
        self._channel = grpc.insecure_channel(f"unix:{path}", options=_OPTIONS)
        self._stub = DRAPluginStub(self._channel)  # type: ignore[no-untyped-call]  # generated
        self._health: HealthWatch | None = None

    def look_after(self) -> bool:
        """Connect if there is no connection; returns whether :attr:`connected` changed.

        gRPC's public way to learn of the state is a thread that ends with a traceback when the channel is closed.
        """
        core: Any = self._channel._channel  # type: ignore[attr-defined]  # noqa: SLF001 - see above
        try_to_connect = True
        before, self.connected = self.connected, core.check_connectivity_state(try_to_connect) == _READY
        return before != self.connected

    def watch_health(self, driver: str, service: str, cache: HealthCache, rules: HealthRules) -> None:
        """Open the stream of device health, and again whenever it ends, until :meth:`close`."""
        self._health = HealthWatch(driver, self._channel, service, cache, rules)

    def close(self) -> None:
        """Drop the connection and cancel calls in flight; not while another thread looks after it."""
        if self._health:
            self._health.stop()
        self._channel.close()
        self.connected = False

    def finish(self, seconds: float) -> None:
        """Close once calls in flight have their answers, which the driver may have given before it went away."""
        with self._idle:
            self._idle.wait_for(lambda: self._calls == 0, seconds)
        self.close()

    @contextmanager
    def _calling(self) -> Iterator[None]:
        with self._idle:
            self._calls += 1
        try:
            yield
        finally:
            with self._idle:
                self._calls -= 1
                self._idle.notify_all()

    def prepare(self, claims: Sequence[ClaimRef], timeout: float) -> dict[str, ClaimAnswer]:
        """NodePrepareResources. Raises KubeletCallError."""
        request = pb.NodePrepareResourcesRequest(claims=[_claim(ref) for ref in claims])
        with self._calling():
            response = _call(self._stub.NodePrepareResources, request, timeout)
        _check_uids(claims, response.claims)
        return {uid: _answer(answer) for uid, answer in response.claims.items()}

    def unprepare(self, claims: Sequence[ClaimRef], timeout: float) -> dict[str, str]:
        """NodeUnprepareResources: UID -> error, empty on success. Raises KubeletCallError."""
        request = pb.NodeUnprepareResourcesRequest(claims=[_claim(ref) for ref in claims])
        with self._calling():
            response = _call(self._stub.NodeUnprepareResources, request, timeout)
        _check_uids(claims, response.claims)
        return {uid: answer.error for uid, answer in response.claims.items()}


def _call(method: Callable[..., Any], request: object, timeout: float) -> Any:  # noqa: ANN401 - generated stubs have no types
    try:
        return method(request, timeout=timeout)
    except grpc.RpcError as error:
        code = error.code().name
        raise KubeletCallError(f"rpc error: code = {code} desc = {error.details()}", code=code) from None
    except ValueError as error:
        raise KubeletCallError(f"the connection was closed: {error}", code="CANCELLED") from None


def _check_uids(claims: Sequence[ClaimRef], answered: Collection[str]) -> None:
    asked = {ref.uid for ref in claims}
    if unknown := set(answered) - asked:
        raise KubeletCallError(f"the driver answered for unknown claims: {', '.join(sorted(unknown))}")
    if skipped := asked - set(answered):
        raise KubeletCallError(
            f"the driver skipped {len(skipped)} ResourceClaims: {', '.join(sorted(skipped))}"
        )


def _answer(answer: pb.NodePrepareResourceResponse) -> ClaimAnswer:
    if answer.error:
        return ClaimAnswer(error=answer.error)
    return ClaimAnswer(tuple(_device(device) for device in answer.devices))


def _device(device: pb.Device) -> PreparedDevice:
    if not (device.pool_name and device.device_name):
        raise KubeletCallError("the driver answered with a device that has no pool or no name")
    return PreparedDevice(
        requests=tuple(device.request_names),
        pool=device.pool_name,
        device=device.device_name,
        cdi_ids=tuple(device.cdi_device_ids),
        share_id=device.share_id if device.HasField("share_id") else None,
    )


def _claim(ref: ClaimRef) -> pb.Claim:
    return pb.Claim(namespace=ref.namespace, name=ref.name, uid=ref.uid)
