"""Log lines as an operator reads them."""

from __future__ import annotations

import contextvars
import io
import json
import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from dra_common.log import LogFormat, annotate, bind, setup


@pytest.fixture(autouse=True)
def _restore() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def test_text_lines_carry_the_fields_of_their_call() -> None:
    out = io.StringIO()
    setup("text", stream=out)
    log = logging.getLogger("dra_common.test")
    with bind(request=7, claim="ns/name"), bind(device="a b"):
        log.info("prepared %s", "x")
    log.warning("alone")
    first, second = out.getvalue().splitlines()
    assert first.endswith('INFO    prepared x  claim=ns/name device="a b" request=7')
    assert second.endswith("WARNING alone")


def test_json_lines_are_one_object_each_whatever_they_hold() -> None:
    out = io.StringIO()
    setup("json", stream=out)
    with bind(claim="ns/ü", msg="not mine"):
        logging.getLogger("gpu_driver.x").error('two\nlines and "quotes"')
    (line,) = out.getvalue().splitlines()
    read = json.loads(line)
    assert read["msg"] == 'two\nlines and "quotes"', "a bound field never replaces the message"
    assert (read["claim"], read["level"], read["logger"]) == ("ns/ü", "error", "gpu_driver.x")
    assert read["ts"].endswith("Z")


def test_a_field_learned_on_the_way_stays_to_the_end_of_the_call() -> None:
    out = io.StringIO()
    setup("json", stream=out)
    log = logging.getLogger("dra_common")

    def learn() -> None:
        annotate(device="x")

    with bind(claim="a/b"):
        log.info("before")
        learn()
        log.info("after")
    log.info("outside")
    lines = [json.loads(line) for line in out.getvalue().splitlines()]
    assert [line.get("device") for line in lines] == [None, "x", None]
    assert lines[1]["claim"] == "a/b"


def test_a_field_learned_outside_a_call_is_nobodys() -> None:
    out = io.StringIO()
    setup("json", stream=out)
    annotate(device="x")
    logging.getLogger("dra_common").info("later")
    assert "device" not in json.loads(out.getvalue())


def test_fields_end_with_their_block_also_after_an_error() -> None:
    out = io.StringIO()
    setup("json", stream=out)
    with pytest.raises(ValueError, match="x"), bind(request=1):
        raise ValueError("x")
    logging.getLogger("dra_common").info("after")
    assert "request" not in json.loads(out.getvalue())


def test_fields_go_with_the_work_into_other_threads_and_only_there() -> None:
    out = io.StringIO()
    setup("json", stream=out)
    log = logging.getLogger("dra_common")
    with ThreadPoolExecutor(1) as pool:
        with bind(request=1):
            pool.submit(contextvars.copy_context().run, log.info, "mine").result()
        pool.submit(log.info, "nobody's").result()
    mine, nobodys = map(json.loads, out.getvalue().splitlines())
    assert (mine["request"], "request" in nobodys) == ("1", False)


def test_debug_lines_only_when_verbose_and_libraries_from_warning_up() -> None:
    for verbose in (False, True):
        out = io.StringIO()
        setup("text", verbose=verbose, stream=out)
        logging.getLogger("dra_common").debug("detail")
        logging.getLogger("urllib3").info("chatter")
        assert ("detail" in out.getvalue(), "chatter" in out.getvalue()) == (verbose, False)


def test_an_unforeseen_error_keeps_its_traceback() -> None:
    formats: tuple[LogFormat, ...] = ("text", "json")
    for log_format in formats:
        out = io.StringIO()
        setup(log_format, stream=out)
        try:
            int("boom")
        except ValueError:
            logging.getLogger("dra_common").exception("a bug")
        assert "ValueError: invalid literal" in out.getvalue()
