"""Reading a driver's configuration file, see :mod:`dra_common.policy`."""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import ValidationError

from dra_common.document import Document
from dra_common.errors import SettingsError
from dra_common.policy import DriverPolicy, PolicyKind, file_model

_MOST = 1 << 20
"""Bytes of a file: what a ConfigMap can hold."""


def read_policy(path: Path, kind: PolicyKind) -> DriverPolicy:
    """Read and check the whole file. Raises SettingsError naming the file, the line, the field and what is wrong."""
    begin = f"begin with `apiVersion: {kind.api_version}` and `kind: {kind.kind}`"
    document = Document(f"configuration {path}", _content(path), begin)
    for name, wanted in (("apiVersion", kind.api_version), ("kind", kind.kind)):
        if document.value.get(name) != wanted:
            found = document.value.get(name)
            raise document.wrong(
                (name,), f"{found!r} is not read here" if found else "is missing", cure=begin
            )
    try:
        # As JSON, which it is: strict otherwise means Python's types, and no list would ever be a tuple.
        return file_model(kind).model_validate_json(json.dumps(document.value), by_alias=True, by_name=False)
    except ValidationError as error:
        raise document.explain(error) from None


def _content(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(_MOST + 1)
    except OSError as error:
        raise SettingsError(
            f"configuration {path}: cannot be read: {error.strerror}",
            cure="name a file with --config (CONFIG)",
        ) from None
    if len(content) > _MOST:
        raise SettingsError(f"configuration {path}: has more than {_MOST} bytes")
    return content
