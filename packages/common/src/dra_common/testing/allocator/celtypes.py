"""The types Quantity and Semver of the Kubernetes CEL libraries, and their functions.

The C++ runtime exchanges values with Python as plain types or protobuf messages; so each of the two is a message with
one text in a canonical form, which makes equality right: ``quantity("1Gi") == quantity("1024Mi")``.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

from cel_expr_python import cel
from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from dra_common.testing.allocator.quantities import parse_quantity
from dra_common.testing.allocator.versions import Semver

_INT64 = range(-(2**63), 2**63)


def _pool() -> DescriptorPool:
    file = FileDescriptorProto(name="kubernetes_cel.proto", package="kubernetes", syntax="proto3")
    for name in ("Quantity", "Semver"):
        file.message_type.add(name=name).field.add(
            name="text",
            number=1,
            type=FieldDescriptorProto.TYPE_STRING,
            label=FieldDescriptorProto.LABEL_OPTIONAL,
        )
    pool = DescriptorPool()
    pool.Add(file)
    return pool


POOL = _pool()
QUANTITY = cel.Type("kubernetes.Quantity")
SEMVER = cel.Type("kubernetes.Semver")
_Quantity: Any = GetMessageClass(POOL.FindMessageTypeByName("kubernetes.Quantity"))
_Semver: Any = GetMessageClass(POOL.FindMessageTypeByName("kubernetes.Semver"))


def quantity_value(text: str) -> Message:
    """Return a quantity for CEL. Raises ValueError."""
    return _quantity(parse_quantity(text))


def semver_value(text: str) -> Message:
    """Return a version for CEL. Raises ValueError."""
    return _semver(text)


def functions() -> list[cel.FunctionDecl]:
    """Return the declarations and implementations of both libraries."""
    kind = cel.Type
    both = (QUANTITY, SEMVER)
    return [
        _function("quantity", _overload(quantity_value, QUANTITY, kind.STRING)),
        _function("isQuantity", _overload(_valid(quantity_value), kind.BOOL, kind.STRING)),
        _function(
            "semver",
            _overload(semver_value, SEMVER, kind.STRING),
            _overload(_semver, SEMVER, kind.STRING, kind.BOOL),
        ),
        _function(
            "isSemver",
            _overload(_valid(semver_value), kind.BOOL, kind.STRING),
            _overload(_valid(_semver), kind.BOOL, kind.STRING, kind.BOOL),
        ),
        _comparison("compareTo", kind.INT, lambda order: order, both),
        _comparison("isGreaterThan", kind.BOOL, lambda order: order > 0, both),
        _comparison("isLessThan", kind.BOOL, lambda order: order < 0, both),
        _arithmetic("add", 1),
        _arithmetic("sub", -1),
        _function("isInteger", _member(lambda value: _is_integer(_amount(value)), kind.BOOL, QUANTITY)),
        _function("asInteger", _member(_as_integer, kind.INT, QUANTITY)),
        _function("asApproximateFloat", _member(lambda value: float(_amount(value)), kind.DOUBLE, QUANTITY)),
        _function("major", _member(lambda value: _version(value).major, kind.INT, SEMVER)),
        _function("minor", _member(lambda value: _version(value).minor, kind.INT, SEMVER)),
        _function("patch", _member(lambda value: _version(value).patch, kind.INT, SEMVER)),
    ]


def _function(name: str, *overloads: Callable[[str], cel.Overload]) -> cel.FunctionDecl:
    return cel.FunctionDecl(name, [make(f"{name}_{index}") for index, make in enumerate(overloads)])


def _overload(
    impl: Callable[..., object] | None, result: cel.Type, *parameters: cel.Type
) -> Callable[[str], cel.Overload]:
    return lambda name: cel.Overload(name, return_type=result, parameters=list(parameters), impl=impl)


def _member(
    impl: Callable[..., object], result: cel.Type, *parameters: cel.Type
) -> Callable[[str], cel.Overload]:
    return lambda name: cel.Overload(
        name, return_type=result, parameters=list(parameters), is_member=True, impl=impl
    )


def _comparison(
    name: str, result: cel.Type, answer: Callable[[int], object], types: tuple[cel.Type, ...]
) -> cel.FunctionDecl:
    """At run time all messages are of one kind: the first overload has the implementation for all of them."""

    def compare(left: Message, right: Message) -> object:
        return answer(_compare(left, right))

    first, *others = types
    declared = [_member(compare, result, first, first)(f"{name}_{first.name()}")]
    declared += [
        cel.Overload(f"{name}_{kind.name()}", return_type=result, parameters=[kind, kind], is_member=True)
        for kind in others
    ]
    return cel.FunctionDecl(name, declared)


def _arithmetic(name: str, sign: int) -> cel.FunctionDecl:
    return _function(
        name,
        _member(
            lambda left, right: _quantity(_amount(left) + sign * _amount(right)), QUANTITY, QUANTITY, QUANTITY
        ),
        _member(
            lambda left, right: _quantity(_amount(left) + sign * right), QUANTITY, QUANTITY, cel.Type.INT
        ),
    )


def _quantity(amount: Fraction) -> Message:
    message: Message = _Quantity(text=str(amount))
    return message


def _semver(text: str, normalize: bool = False) -> Message:  # noqa: FBT001, FBT002 - called by position from CEL
    message: Message = _Semver(text=str(Semver.parse(text, normalize=normalize)))
    return message


def _valid(parse: Callable[..., object]) -> Callable[..., bool]:
    def check(*arguments: object) -> bool:
        try:
            parse(*arguments)
        except ValueError:
            return False
        return True

    return check


def _amount(value: Message) -> Fraction:
    return Fraction(_text(value, "Quantity"))


def _version(value: Message) -> Semver:
    return Semver.parse(_text(value, "Semver"))


def _text(value: Message, kind: str) -> str:
    if value.DESCRIPTOR.name != kind:
        msg = f"no such overload: {value.DESCRIPTOR.name} where {kind} is needed"
        raise ValueError(msg)
    return str(getattr(value, "text", ""))


def _compare(left: Message, right: Message) -> int:
    if left.DESCRIPTOR.name == "Semver":
        return _version(left).compare(_version(right))
    first, second = _amount(left), _amount(right)
    return (first > second) - (first < second)


def _is_integer(amount: Fraction) -> bool:
    return amount.denominator == 1 and int(amount) in _INT64


def _as_integer(value: Message) -> int:
    amount = _amount(value)
    if not _is_integer(amount):
        msg = "cannot convert value to integer"
        raise ValueError(msg)
    return int(amount)
