"""The claims in the ``preparedClaims.json`` of a driver that this one replaces: bytes in, what can be relied on out.

Two formats are known. The first names itself; the other is a plain map, which is also what older releases wrote:

.. code-block:: text

    {"kind": "PreparedClaimsCheckpoint", "apiVersion": "checkpoint.gpu.intel.com/v1", "PreparedClaims":
        {"<uid>": {"PreparedDevices": [{"AdminAccess": false, "KubeletpluginDevice": {<device>}}]}}}
    {"<uid>": {"Err": null, "Devices": [{<device>}]}}
    <device> = "Requests": [], "PoolName": "", "DeviceName": "", "CDIDeviceIDs": [], "ShareID": null

Such a file is written in place, without a checksum and without the boot it belongs to: it may be cut off, and one
claim in it may be bad while the others are good. What is not needed is not looked at; what is needed is checked to the
letter.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from dra_common.errors import CheckpointError
from dra_common.model import PreparedDevice, is_uid

KIND = "PreparedClaimsCheckpoint"
_FIRST_GROUP = "checkpoint.gpu.intel.com"
"""Of the only driver that has the format so far; another may take it over with this group or with its own."""

_MOST_DEVICES = 32
"""Results of one allocation (resource.k8s.io/v1)."""

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", re.ASCII)
_REQUEST = re.compile(rf"{_LABEL.pattern}(/{_LABEL.pattern})?", re.ASCII)
_POOL = re.compile(r"[a-z0-9]([-a-z0-9./]{0,251}[a-z0-9])?", re.ASCII)
_SHARE = re.compile(r"[0-9a-f-]{1,64}", re.ASCII)
_CDI_ID = re.compile(
    r"(?P<kind>[A-Za-z][A-Za-z0-9_.-]{0,252}/[A-Za-z][A-Za-z0-9_.-]{0,62})"
    r"=[A-Za-z0-9]([A-Za-z0-9_.:-]{0,126}[A-Za-z0-9])?",
    re.ASCII,
)


class Format(StrEnum):
    """How a checkpoint is written."""

    VERSIONED = "versioned"
    MAP = "map"


@dataclass(frozen=True, slots=True)
class CheckpointDevice:
    """One device of a claim: what the kubelet was answered. ``admin`` is False where the format cannot say it."""

    answer: PreparedDevice
    admin: bool = False


@dataclass(frozen=True, slots=True)
class CheckpointClaim:
    """One claim; ``problem`` says why it cannot be relied on, and then there are no devices."""

    uid: str
    devices: tuple[CheckpointDevice, ...] = ()
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A whole file, its claims in the order in which they stand there."""

    format: Format
    claims: tuple[CheckpointClaim, ...] = ()


class _Bad(Exception):
    """Why one claim cannot be relied on."""


def decode_checkpoint(data: bytes, driver: str, kinds: Sequence[str]) -> Checkpoint:
    """Return the claims of a checkpoint.

    Args:
        data: the file.
        driver: the DRA driver's name, ``gpu.intel.com``.
        kinds: CDI kinds that the driver's ids may have, ``intel.com/gpu``.

    Raises CheckpointError if nothing in the file can be relied on: cut off, no JSON, a format that is not known.
    """
    content = _object(data)
    kind, version = content.get("kind"), content.get("apiVersion")
    if kind is None and version is None:
        # "PreparedClaims" is no UID: without its two names the newer format would pass for a map of one odd claim.
        _refuse_unless(KIND.removesuffix("Checkpoint") not in content, "it does not say its version")
        return Checkpoint(Format.MAP, tuple(_claims(content, _of_map, kinds)))
    known = kind == KIND and version in (f"{_FIRST_GROUP}/v1", f"checkpoint.{driver}/v1")
    _refuse_unless(known, f"kind {_shown(kind)} of apiVersion {_shown(version)} is not known")
    claims = content.get("PreparedClaims")
    _refuse_unless(claims is None or isinstance(claims, Mapping), "PreparedClaims is no object")
    return Checkpoint(Format.VERSIONED, tuple(_claims(claims or {}, _of_versioned, kinds)))


def _object(data: bytes) -> Mapping[str, Any]:
    try:
        content = json.loads(data, object_pairs_hook=_pairs)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"it is not JSON: {error}") from error
    _refuse_unless(isinstance(content, Mapping), "it is no JSON object")
    found: Mapping[str, Any] = content
    return found


@dataclass(frozen=True, slots=True)
class _Twice:
    """Stands for a value whose name came twice in one object: readers differ in which they take."""


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        found[name] = _Twice() if name in found else value
    return found


def _refuse_unless(good: bool, why: str) -> None:  # noqa: FBT001 - reads as a sentence
    if not good:
        raise CheckpointError(why)


def _claims(entries: Mapping[str, Any], of_format: Any, kinds: Sequence[str]) -> Iterator[CheckpointClaim]:  # noqa: ANN401
    for uid, entry in entries.items():
        try:
            yield CheckpointClaim(_uid(uid), tuple(_devices(of_format(entry), kinds)))
        except _Bad as error:
            yield CheckpointClaim(uid, problem=str(error))


def _uid(uid: str) -> str:
    if not is_uid(uid):
        raise _Bad(f"{_shown(uid)} is not a claim's UID")
    return uid


def _of_versioned(entry: object) -> Iterator[tuple[Mapping[str, Any], bool]]:
    """Devices with their adminAccess, as the versioned format has them."""
    for device in _list(_mapping(entry, "the claim"), "PreparedDevices"):
        prepared = _mapping(device, "a device")
        admin = prepared.get("AdminAccess", False)
        if not isinstance(admin, bool):
            raise _Bad(f"AdminAccess is {_shown(admin)}")
        yield _mapping(prepared.get("KubeletpluginDevice"), "KubeletpluginDevice"), admin


def _of_map(entry: object) -> Iterator[tuple[Mapping[str, Any], bool]]:
    """The same, as the map has them: it does not know adminAccess."""
    claim = _mapping(entry, "the claim")
    if claim.get("Err") is not None:
        raise _Bad(f"its preparation had failed: {_shown(claim['Err'])}")
    for device in _list(claim, "Devices"):
        yield _mapping(device, "a device"), False


def _devices(
    found: Iterator[tuple[Mapping[str, Any], bool]], kinds: Sequence[str]
) -> Iterator[CheckpointDevice]:
    for number, (device, admin) in enumerate(found, 1):
        if number > _MOST_DEVICES:
            raise _Bad(f"it has more than {_MOST_DEVICES} devices")
        yield CheckpointDevice(_answer(device, kinds), admin)


def _answer(device: Mapping[str, Any], kinds: Sequence[str]) -> PreparedDevice:
    requests = tuple(_text(name, _REQUEST, "Requests") for name in _list(device, "Requests"))
    ids = tuple(_text(name, _CDI_ID, "CDIDeviceIDs") for name in _list(device, "CDIDeviceIDs"))
    strange = [name for name in ids if name.partition("=")[0] not in kinds]
    if strange:
        raise _Bad(f"CDI id {strange[0]} is not of this driver's kinds: {', '.join(kinds)}")
    share = device.get("ShareID")
    return PreparedDevice(
        requests=tuple(name.partition("/")[0] for name in requests),
        pool=_text(device.get("PoolName"), _POOL, "PoolName"),
        device=_text(device.get("DeviceName"), _LABEL, "DeviceName"),
        cdi_ids=ids,
        share_id=None if share is None else _text(share, _SHARE, "ShareID"),
    )


def _text(value: object, shape: re.Pattern[str], name: str) -> str:
    if not isinstance(value, str) or not shape.fullmatch(value):
        raise _Bad(f"{name} is {_shown(value)}")
    return value


def _mapping(value: object, name: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise _Bad(f"{name} is {_shown(value)}")
    return value


def _list(holder: Mapping[str, Any], name: str) -> list[Any]:
    """Return a list; Go writes one that was never made as null."""
    value = holder.get(name)
    if value is None:
        return []
    if not isinstance(value, list):
        raise _Bad(f"{name} is {_shown(value)}")
    return value


def _shown(value: object) -> str:
    """Render any value of a file that nobody vouches for: short, and safe for a terminal."""
    if value is None:
        return "missing"
    text = "there twice" if isinstance(value, _Twice) else ascii(value)
    return text if len(text) <= 60 else f"{text[:57]}..."  # noqa: PLR2004 - characters
