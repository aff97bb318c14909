"""When ResourceSlices are wiped, by a clock that the tests turn."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from dra_common.testing.kubelet import api_wiper
from dra_common.testing.kubelet.wiping import Wiper

GPU, QAT = "gpu.example.com", "qat.example.com"


class World:
    """A clock, and an API server that may be away."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.away = False
        self.wiped: list[str | None] = []
        self.wiper = Wiper(self.wipe, 30.0, lambda: self.now)

    def wipe(self, driver: str | None) -> None:
        if self.away:
            raise ConnectionRefusedError("the API server is away")
        self.wiped.append(driver)

    def after(self, seconds: float, **usable: bool) -> list[str | None]:
        """Let time pass, look, and return what was wiped by that look."""
        self.now += seconds
        before = len(self.wiped)
        self.wiper.look({{"gpu": GPU, "qat": QAT}[name]: is_usable for name, is_usable in usable.items()})
        return self.wiped[before:]


def test_a_start_wipes_everything_at_once() -> None:
    world = World()
    world.wiper.kubelet_started()
    assert world.wiped == [None]
    assert world.after(100) == []


def test_a_driver_out_of_reach_is_wiped_after_the_delay_and_only_once() -> None:
    world = World()
    assert world.after(0, gpu=True, qat=True) == []
    assert world.after(1, gpu=False, qat=True) == []
    assert world.after(29.9, gpu=False, qat=True) == []
    assert world.after(0.2, gpu=False, qat=True) == [GPU]
    assert world.after(1000, gpu=False, qat=True) == []


def test_a_driver_that_is_back_within_the_delay_is_not_wiped_and_the_delay_begins_anew() -> None:
    world = World()
    world.after(0, gpu=False)
    assert world.after(29, gpu=True) == []
    assert world.after(29, gpu=False) == []
    assert world.after(29, gpu=False) == []
    assert world.after(1, gpu=False) == [GPU]


def test_each_driver_has_a_delay_of_its_own() -> None:
    world = World()
    world.after(0, gpu=False, qat=True)
    world.after(20, gpu=False, qat=False)
    assert world.after(10, gpu=False, qat=False) == [GPU]
    assert world.after(20, gpu=False, qat=False) == [QAT]


def test_a_driver_is_wiped_again_after_it_was_back() -> None:
    world = World()
    world.after(0, gpu=False)
    assert world.after(30, gpu=False) == [GPU]
    assert world.after(1, gpu=True) == []
    world.after(1, gpu=False)
    assert world.after(30, gpu=False) == [GPU]


def test_a_wipe_that_fails_is_tried_again_every_second() -> None:
    world = World()
    world.away = True
    world.wiper.kubelet_started()
    assert world.after(1) == []
    world.away = False
    assert world.after(0.5) == []
    assert world.after(0.5) == [None]
    assert world.after(100) == []


def test_a_restart_forgets_who_was_out_of_reach() -> None:
    world = World()
    world.after(0, gpu=False)
    world.wiper.kubelet_started()
    assert world.after(100) == []


@contextmanager
def api_server(status: int) -> Iterator[tuple[str, list[str]]]:
    """Serve DELETE with ``status``; yields the URL and the paths that were asked for."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_DELETE(self) -> None:
            asked.append(self.path)
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_args: object) -> None:
            return

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/", asked
        server.shutdown()
        thread.join()


def test_the_api_wiper_deletes_the_collection_of_the_node_or_of_one_driver_on_it() -> None:
    with api_server(200) as (url, asked):
        wipe = api_wiper(url, "node-1")
        wipe(None)
        wipe(GPU)
    collection = "/apis/resource.k8s.io/v1/resourceslices?fieldSelector=spec.nodeName%3Dnode-1"
    assert asked == [collection, f"{collection}%2Cspec.driver%3D{GPU}"]


def test_the_api_wiper_reports_a_refusal() -> None:
    with api_server(403) as (url, _), pytest.raises(OSError, match=r"spec\.nodeName=node-1.*HTTP 403"):
        api_wiper(url, "node-1")(None)
