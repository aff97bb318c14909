"""Which troubles are told."""

from __future__ import annotations

from dra_common.errors import Forbidden, Invalid, NotFound, ServerError, Throttled, Unreachable
from dra_common.publisher.status import Troubles


def test_each_kind_is_told_once_until_it_is_over() -> None:
    troubles = Troubles()
    assert not troubles.over()
    assert troubles.is_new(Unreachable("GET /a: refused"))
    assert troubles.is_new(ServerError("503", status=503))
    assert not troubles.is_new(Unreachable("GET /b: refused"))
    assert not troubles.is_new(ServerError("the same, in other words", status=503))
    assert troubles.over()
    assert troubles.is_new(Unreachable("GET /a: refused"))


def test_another_status_or_another_cure_is_another_kind() -> None:
    troubles = Troubles()
    assert troubles.is_new(Forbidden("no", cure="allow list", status=403))
    assert troubles.is_new(Forbidden("no", cure="allow create", status=403))
    assert troubles.is_new(NotFound("no", cure="check --node-name", status=404))
    assert troubles.is_new(ServerError("no", status=500))
    assert troubles.is_new(ServerError("no", status=503))


def test_how_long_to_wait_makes_no_kind() -> None:
    troubles = Troubles()
    assert troubles.is_new(Throttled("busy", cure="try again in 1 s"))
    assert not troubles.is_new(Throttled("busy", cure="try again in 7 s"))


def test_errors_nobody_foresaw_are_known_by_their_class() -> None:
    troubles = Troubles()
    assert troubles.is_new(KeyError("a"))
    assert not troubles.is_new(KeyError("b"))
    assert troubles.is_new(ValueError("a"))


def test_a_class_can_be_forgotten() -> None:
    troubles = Troubles()
    assert troubles.is_new(Invalid("a", status=422))
    assert troubles.is_new(Unreachable("a"))
    troubles.forget(Invalid)
    assert troubles.is_new(Invalid("b", status=422))
    assert not troubles.is_new(Unreachable("b"))
