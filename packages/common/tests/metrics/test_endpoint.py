"""The HTTP endpoint over real sockets: what it answers, and what no client can do to it."""

from __future__ import annotations

import contextlib
import http.client
import logging
import socket
import threading
from collections.abc import Callable, Iterator, Mapping

import pytest
from dra_common.metrics import Answer, HttpEndpoint
from dra_common.metrics.endpoint import MOST_CONNECTIONS
from dra_common.testing.waiting import wait_until

HOST = "127.0.0.1"
ROUTES: Mapping[str, Callable[[], Answer]] = {
    "/healthz": lambda: Answer(200, b"ok\n"),
    "/broken": lambda: Answer(200, str(1 // 0).encode()),
    "/large": lambda: Answer(200, b"x" * 50_000_000),
}

Serve = Callable[..., int]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Start an endpoint and return its port."""
    with contextlib.ExitStack() as stack:

        def start(routes: Mapping[str, Callable[[], Answer]] = ROUTES, seconds: float = 60.0) -> int:
            endpoint = HttpEndpoint(HOST, 0, routes, seconds=seconds)
            endpoint.start()
            stack.callback(endpoint.stop)
            assert endpoint.port is not None
            return endpoint.port

        yield start


def ask(port: int, path: str = "/healthz", method: str = "GET") -> tuple[int, bytes, http.client.HTTPMessage]:
    connection = http.client.HTTPConnection(HOST, port, timeout=30)
    connection.request(method, path)
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer.status, body, answer.headers


def raw(port: int, data: bytes) -> bytes:
    """Send bytes and return all that comes back."""
    with socket.create_connection((HOST, port), timeout=60) as client:
        client.sendall(data)
        return everything(client)


def everything(client: socket.socket) -> bytes:
    data = b""
    with contextlib.suppress(ConnectionError):
        while part := client.recv(1 << 16):
            data += part
    return data


def requests_in_flight() -> int:
    return sum(thread.name == "http-request" for thread in threading.enumerate())


def test_get_and_head_and_a_query(serve: Serve) -> None:
    port = serve()
    status, body, headers = ask(port)
    assert (status, body, headers["Content-Type"]) == (200, b"ok\n", "text/plain; charset=utf-8")
    assert headers["Content-Length"] == "3"
    assert ask(port, "/healthz?verbose")[:2] == (200, b"ok\n")
    status, body, headers = ask(port, method="HEAD")
    assert (status, body, headers["Content-Length"]) == (200, b"", "3")


@pytest.mark.parametrize("path", ["/", "/metricsx", "/healthz/", "/../healthz"])
def test_other_paths_are_404_and_name_what_there_is(serve: Serve, path: str) -> None:
    status, body, _ = ask(serve(), path)
    assert status == 404
    assert b"/healthz" in body


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "BREW"])
def test_other_methods_are_405(serve: Serve, method: str) -> None:
    status, _, headers = ask(serve(), method=method)
    assert (status, headers["Allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize(
    "data",
    [
        b"\r\n\r\n",
        b"GET\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET /healthz HTTP/9.9\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\n" + b"a: b\r\n" * 200 + b"\r\n",
        b"GET /" + b"x" * 100_000 + b" HTTP/1.1\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nx: " + b"y" * 100_000,
    ],
    ids=["empty", "short", "tls", "version", "headers", "line", "header"],
)
def test_garbage_ends_its_own_connection_only(serve: Serve, data: bytes) -> None:
    port = serve()
    with socket.create_connection((HOST, port), timeout=60) as client, contextlib.suppress(OSError):
        client.sendall(data)
        client.shutdown(socket.SHUT_WR)
        assert b" 200 " not in everything(client)
    assert ask(port)[0] == 200


def test_a_route_that_fails_is_500_and_a_line(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    status, body, _ = ask(serve(), "/broken")
    assert (status, body) == (500, b"see the driver's log\n")
    assert "ZeroDivisionError" in caplog.text


def test_nothing_is_logged_of_ordinary_requests(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    port = serve()
    caplog.clear()
    ask(port)
    ask(port, "/nothing")
    assert [record for record in caplog.records if record.levelno > logging.DEBUG] == []


def test_a_client_that_trickles_is_cut_at_its_deadline(serve: Serve) -> None:
    """A byte now and then starts every ordinary timeout anew; the deadline is of the whole request."""
    port = serve(seconds=1.0)
    stop = threading.Event()
    with socket.create_connection((HOST, port), timeout=60) as client:

        def trickle() -> None:
            with contextlib.suppress(OSError):
                while not stop.wait(0.05):
                    client.sendall(b"x")

        thread = threading.Thread(target=trickle)
        thread.start()
        try:
            assert everything(client) == b""
        finally:
            stop.set()
            thread.join()
    wait_until(lambda: requests_in_flight() == 0, "its thread to end", seconds=60)


def test_a_client_that_does_not_read_is_cut_at_its_deadline(serve: Serve) -> None:
    port = serve(seconds=1.0)
    with socket.create_connection((HOST, port), timeout=60) as client:
        client.sendall(b"GET /large HTTP/1.1\r\n\r\n")
        wait_until(lambda: requests_in_flight() == 1, "the request to be taken up", seconds=60)
        wait_until(lambda: requests_in_flight() == 0, "its thread to end", seconds=60)
        assert len(everything(client)) < 50_000_000


def test_many_silent_clients_do_not_keep_a_probe_out(serve: Serve) -> None:
    port = serve()
    with contextlib.ExitStack() as stack:
        clients = [
            stack.enter_context(socket.create_connection((HOST, port), timeout=60))
            for _ in range(5 * MOST_CONNECTIONS)
        ]
        assert ask(port)[0] == 200
        assert requests_in_flight() <= 2 * MOST_CONNECTIONS
        # The oldest one lost its place.
        assert everything(clients[0]) == b""
    wait_until(lambda: requests_in_flight() == 0, "all threads to end", seconds=60)


def test_a_slow_answer_delays_nobody_else(serve: Serve) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def slow() -> Answer:
        begun.set()
        assert go_on.wait(60)
        return Answer(200, b"at last\n")

    port = serve({"/slow": slow, **ROUTES})
    answers: list[bytes] = []
    thread = threading.Thread(target=lambda: answers.append(ask(port, "/slow")[1]))
    thread.start()
    try:
        assert begun.wait(60)
        assert ask(port)[:2] == (200, b"ok\n")
    finally:
        go_on.set()
        thread.join()
    assert answers == [b"at last\n"]


def test_a_port_that_is_taken_is_one_line(caplog: pytest.LogCaptureFixture) -> None:
    with socket.create_server((HOST, 0)) as taken:
        port = taken.getsockname()[1]
        endpoint = HttpEndpoint(HOST, port, ROUTES)
        endpoint.start()
        endpoint.stop()
    assert endpoint.port is None
    (record,) = caplog.records
    assert f"{HOST}:{port}" in record.getMessage()
    assert "Address already in use" in record.getMessage()
    assert "--http-endpoint" in record.getMessage()


def test_stop_ends_everything_and_frees_the_port() -> None:
    endpoint = HttpEndpoint("", 0, ROUTES)
    threads = threading.active_count()
    endpoint.start()
    port = endpoint.port
    assert port is not None
    assert ask(port)[0] == 200
    with socket.create_connection((HOST, port), timeout=60) as silent:
        wait_until(lambda: requests_in_flight() == 1, "the connection to be taken", seconds=60)
        endpoint.stop()
        assert everything(silent) == b""
    endpoint.stop()
    wait_until(lambda: threading.active_count() <= threads, "our threads to end", seconds=60)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((HOST, port), timeout=60)
    again = HttpEndpoint(HOST, port, ROUTES)
    again.start()
    assert again.port == port
    again.stop()


def test_all_addresses_means_both_families(serve: Serve) -> None:
    endpoint = HttpEndpoint("", 0, ROUTES)
    endpoint.start()
    try:
        assert endpoint.port is not None
        for host in ("127.0.0.1", *(["::1"] if socket.has_dualstack_ipv6() else [])):
            with socket.create_connection((host, endpoint.port), timeout=60) as client:
                client.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
                assert everything(client).endswith(b"ok\n")
    finally:
        endpoint.stop()
