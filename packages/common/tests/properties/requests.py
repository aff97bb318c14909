"""Whatever bytes come to the sockets of a driver: an answer for each claim or a gRPC status, and it serves on."""

from __future__ import annotations

import atexit
import shutil
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import grpc
from dra_common.kubelet._generated import dra_v1_pb2 as pb
from dra_common.model import is_uid
from dra_common.testing.bench import Bench, config
from dra_common.testing.kubelet import KubeletNode
from google.protobuf.message import DecodeError
from hypothesis import strategies as st
from properties.base import Property, damaged, fast_folder

DRA = "/k8s.io.kubelet.pkg.apis.dra.v1.DRAPlugin"
REGISTRATION = "/pluginregistration.Registration"
METHODS = (
    f"{DRA}/NodePrepareResources",
    f"{DRA}/NodeUnprepareResources",
    f"{REGISTRATION}/GetInfo",
    f"{REGISTRATION}/NotifyRegistrationStatus",
    f"{DRA}/NodeWatchResources",
    "/nobody/Nothing",
    "",
)
PATIENCE = 60
UIDS = ("uid-c0", "uid-c1", "uid-unknown", "", "../../etc/passwd", "a/b", "a\nb", "a" * 200, "\0", "ü")
Request = tuple[str, bytes]


@dataclass
class Served:
    """A driver behind real sockets, with the claim engine on real files."""

    root: Path = field(default_factory=fast_folder)
    asked: int = 0

    def __post_init__(self) -> None:
        self.bench = Bench(self.root / "bench")
        for number, device in enumerate("ab"):
            self.bench.claim(f"c{number}", device, config=[config(5)])
        self.node = KubeletNode(self.root, self.bench.engine).__enter__()
        self.node.start_plugin()
        sockets = {DRA: self.node.dra_socket, REGISTRATION: self.node.registration_socket}
        self.channels = {name: grpc.insecure_channel(f"unix:{path}") for name, path in sockets.items()}
        atexit.register(self.stop)

    def stop(self) -> None:
        for channel in self.channels.values():
            channel.close()
        self.node.__exit__(None, None, None)
        shutil.rmtree(self.root)

    def call(self, method: str, request: bytes) -> bytes | grpc.StatusCode:
        """Send bytes; returns the bytes of the answer, or the status."""
        channel = self.channels[REGISTRATION if method.startswith(REGISTRATION) else DRA]
        try:
            ask: Any = channel.unary_unary(method)
            answer: bytes = ask(request, timeout=PATIENCE)
        except grpc.RpcError as error:
            code: grpc.StatusCode = error.code()
            return code
        return answer

    def check_it_serves(self) -> None:
        """One whole life of a claim."""
        request = pb.NodePrepareResourcesRequest(
            claims=[pb.Claim(namespace="default", name="c0", uid="uid-c0")]
        )
        said = self.call(METHODS[0], request.SerializeToString())
        assert isinstance(said, bytes), said
        answer = pb.NodePrepareResourcesResponse.FromString(said)
        assert not answer.claims["uid-c0"].error
        assert [device.device_name for device in answer.claims["uid-c0"].devices] == ["a"]
        for uid in ("uid-c0", "uid-c1"):
            request.claims[0].uid = uid
            said = self.call(METHODS[1], request.SerializeToString())
            assert isinstance(said, bytes), said
            assert not pb.NodeUnprepareResourcesResponse.FromString(said).claims[uid].error
        assert self.bench.leftovers() == []
        assert (self.bench.level("a"), self.bench.level("b")) == (1, 1)


@cache
def served() -> Served:
    return Served()


def check(request: Request) -> None:
    """One call; after some, a claim's whole life."""
    driver, (method, data) = served(), request
    check_answer(method, data, driver.call(method, data))
    driver.asked += 1
    if driver.asked % 25 == 0:
        driver.check_it_serves()


def check_answer(method: str, data: bytes, said: bytes | grpc.StatusCode) -> None:
    wanted = uids(method, data)
    if wanted is None:
        assert not isinstance(said, bytes) or method.startswith(REGISTRATION), said
        return
    assert isinstance(said, bytes), f"{method} was not answered: {said}"
    kind: Any = pb.NodePrepareResourcesResponse if method == METHODS[0] else pb.NodeUnprepareResourcesResponse
    claims = kind.FromString(said).claims
    assert set(claims) == wanted
    for uid, claim in claims.items():
        assert claim.error or is_uid(uid), f"{uid!r} is no claim"


def uids(method: str, data: bytes) -> set[str] | None:
    """Return whom a request names, None if it is none for claims."""
    kind: Any = {
        METHODS[0]: pb.NodePrepareResourcesRequest,
        METHODS[1]: pb.NodeUnprepareResourcesRequest,
    }.get(method)
    try:
        return {claim.uid for claim in kind.FromString(data).claims} if kind else None
    except DecodeError:
        return None


def _request(claims: list[tuple[str, str, str]], unknown: bytes) -> bytes:
    named = [pb.Claim(namespace=namespace, name=name, uid=uid) for namespace, name, uid in claims]
    return pb.NodePrepareResourcesRequest(claims=named).SerializeToString() + unknown


_texts = st.text(max_size=5)
_claims = st.tuples(
    st.sampled_from(("default", "", "kube-system")) | _texts,
    st.sampled_from(("c0", "c1", "")) | _texts,
    st.sampled_from(UIDS) | _texts,
)
# Field 15 is nobody's: later kubelets may send what this release does not know.
_messages = st.builds(_request, st.lists(_claims, max_size=4), st.sampled_from((b"", b"", b"\x7a\x01x")))
_seed = _request([("default", "c0", "uid-c0")], b"")
_requests = st.tuples(
    st.sampled_from((*METHODS[:2] * 4, *METHODS)), _messages | damaged((_seed,)) | st.binary(max_size=50)
)
PROPERTY = Property("requests", _requests, check, examples=150, guided=False)
