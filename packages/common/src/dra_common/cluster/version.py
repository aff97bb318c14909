"""Which Kubernetes the API server is."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from dra_common.errors import ClusterError
from dra_common.ports import ApiServer


class ServerVersion(NamedTuple):
    """Compares like a tuple: ``server_version(api) >= (1, 35)``."""

    major: int
    minor: int

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}"


def server_version(api: ApiServer) -> ServerVersion:
    """GET ``/version``; vendors write the minor as ``34+``. Raises ClusterError."""
    said = api.get("/version")
    return ServerVersion(_number(said, "major"), _number(said, "minor"))


def _number(said: dict[str, Any], name: str) -> int:
    found = re.match(r"\d+", str(said.get(name, "")))
    if not found:
        message = f"GET /version: the API server's {name} version is {said.get(name)!r}, not a number"
        raise ClusterError(message, cure="check that the address is a Kubernetes API server")
    return int(found.group())
