"""Objects of resource.k8s.io/v1 as the API server stores them, made short for tests and demos.

.. code-block:: python

    claim(exactly('device.attributes["gpu.intel.com"].family == "Data Center Flex"', device_class="gpu.intel.com"))
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

Object: TypeAlias = dict[str, Any]

_KINDS = {bool: "bool", int: "int", str: "string"}


def device(
    name: str,
    attributes: Mapping[str, Any] | None = None,
    capacity: Mapping[str, str] | None = None,
    **fields: object,
) -> Object:
    """Return an entry of ``spec.devices``.

    Args:
        name: its name in the pool.
        attributes: name -> bool, int, str, or a value as in the API (``{"version": "1.2.3"}``).
        capacity: name -> quantity.
        fields: others, under their API names (``taints``, ``consumesCounters``).
    """
    made: Object = {"name": name, **fields}
    if attributes:
        made["attributes"] = {key: _typed(value) for key, value in attributes.items()}
    if capacity:
        made["capacity"] = {key: {"value": value} for key, value in capacity.items()}
    return made


def resource_slice(
    *devices: Object,
    driver: str,
    node: str | None,
    name: str = "",
    generation: int = 1,
    count: int = 1,
    **spec: object,
) -> Object:
    """Return a ResourceSlice of ``node``, whose pool is named as it; None = of all nodes.

    Args:
        devices: made by :func:`device`.
        driver: the driver's name.
        node: the node's name.
        name: the object's name.
        generation: of the pool.
        count: of slices in the pool.
        spec: other fields (``sharedCounters``).
    """
    pool = {"name": node or "cluster", "generation": generation, "resourceSliceCount": count}
    made = {"driver": driver, "pool": pool, **({"nodeName": node} if node else {"allNodes": True}), **spec}
    if devices:
        made["devices"] = list(devices)
    return _object("ResourceSlice", {"name": name or f"00000-{driver}-{node or 'cluster'}"}, made)


def device_class(name: str, *expressions: str, config: list[Object] | None = None) -> Object:
    """Return a DeviceClass; without expressions it selects all devices of the driver that has its name."""
    spec: Object = {"selectors": _selectors(*(expressions or (f'device.driver == "{name}"',)))}
    if config:
        spec["config"] = config
    return _object("DeviceClass", {"name": name}, spec)


def exactly(*expressions: str, device_class: str, name: str = "device", **fields: object) -> Object:
    """Return a request with CEL selectors; ``fields`` are others of ``exactly`` (``count``, ``allocationMode``)."""
    return {"name": name, "exactly": _request(expressions, device_class, fields)}


def first_available(*alternatives: Object, name: str = "device") -> Object:
    """Return a request for the first of several alternatives that can be had."""
    return {"name": name, "firstAvailable": list(alternatives)}


def alternative(*expressions: str, device_class: str, name: str, **fields: object) -> Object:
    """Return one of the ways of :func:`first_available`."""
    return {"name": name, **_request(expressions, device_class, fields)}


def claim(*requests: Object, name: str = "claim", namespace: str = "default", **devices: object) -> Object:
    """Return a ResourceClaim that nothing is allocated for; ``devices`` are ``constraints`` and ``config``."""
    return _object(
        "ResourceClaim",
        {"namespace": namespace, "name": name},
        {"devices": {"requests": list(requests), **devices}},
    )


def _object(kind: str, metadata: Object, spec: Object) -> Object:
    return {"apiVersion": "resource.k8s.io/v1", "kind": kind, "metadata": metadata, "spec": spec}


def _request(expressions: tuple[str, ...], class_name: str, fields: Mapping[str, Any]) -> Object:
    made: Object = {"deviceClassName": class_name, **fields}
    return {**made, "selectors": _selectors(*expressions)} if expressions else made


def _selectors(*expressions: str) -> list[Object]:
    return [{"cel": {"expression": expression}} for expression in expressions]


def _typed(value: Any) -> Object:  # noqa: ANN401 - whatever an attribute may be
    return value if isinstance(value, dict) else {_KINDS[type(value)]: value}
