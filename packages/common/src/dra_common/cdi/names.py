"""What CDI vendors, classes, devices and our own file names may look like."""

from __future__ import annotations

import re

from dra_common.errors import SpecInvalid
from dra_common.model import is_uid

_VENDOR_LIMIT, _CLASS_LIMIT = 253, 63

_PART = re.compile(r"[A-Za-z]([A-Za-z0-9_.-]*[A-Za-z0-9])?")
_DEVICE = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_.:-]*[A-Za-z0-9])?")


def check_vendor(vendor: str) -> str:
    """Return ``vendor`` if it may stand before the ``/`` of a CDI kind. Raises SpecInvalid."""
    if len(vendor) > _VENDOR_LIMIT or not _PART.fullmatch(vendor):
        msg = f"CDI vendor {vendor!r}: must be a DNS name of at most {_VENDOR_LIMIT} characters"
        raise SpecInvalid(msg)
    return vendor


def check_class(name: str) -> str:
    """Return ``name`` if it may stand after the ``/`` of a CDI kind. Raises SpecInvalid."""
    if len(name) > _CLASS_LIMIT or not _PART.fullmatch(name):
        msg = (
            f"CDI class {name!r}: must be at most {_CLASS_LIMIT} letters, digits, '_', '.', '-', "
            "beginning with a letter and ending with a letter or digit"
        )
        raise SpecInvalid(msg)
    return name


def check_device(name: str, file: str) -> str:
    """Return ``name`` if it may stand after the ``=`` of a CDI id. Raises SpecInvalid, naming ``file``."""
    if not _DEVICE.fullmatch(name):
        msg = (
            f"CDI file {file}: device name {name!r}: must be letters, digits, '_', '.', ':', '-', "
            "beginning and ending with a letter or digit"
        )
        raise SpecInvalid(msg)
    return name


def check_uid(uid: str) -> str:
    """Return ``uid`` if it can be part of a file name without meaning anything else. Raises SpecInvalid."""
    if not is_uid(uid):
        msg = f"claim UID {uid!r}: must be at most 128 letters, digits and '-' to name a CDI file"
        raise SpecInvalid(msg)
    return uid


def qualified_name(vendor: str, class_name: str, device: str) -> str:
    """Return the id by which a runtime is asked for a device: ``vendor/class=device``."""
    return f"{vendor}/{class_name}={device}"


def stem(vendor: str, class_name: str) -> str:
    """Return the file name, without suffix, of a kind's static specification (the form CDI recommends)."""
    return f"{vendor}-{class_name}"


def claim_file(vendor: str, class_name: str, uid: str) -> str:
    """Return the file name of one claim's specification: CDI's form for transient specifications."""
    return f"{stem(vendor, class_name)}_{uid}.json"


def uid_of(file: str, vendor: str, class_name: str) -> str | None:
    """Return the claim's UID if ``file`` is exactly a name that :func:`claim_file` makes, else None."""
    prefix = stem(vendor, class_name) + "_"
    uid = file.removeprefix(prefix).removesuffix(".json")
    ours = file == f"{prefix}{uid}.json" and is_uid(uid)
    return uid if ours else None
