"""CEL selectors as Kubernetes evaluates them on one device.

The language, its checker and its errors are those of the CEL project's own C++ implementation. Ours are the variable
``device`` and the functions of the Kubernetes libraries ``quantity`` and ``semver``. A reference to a field, function
or overload that does not exist is a compile error, as in the API server.

Differences to a cluster: ``device`` is not a value of its own (``cel.bind(d, device, …)`` does not compile); a domain
that an expression looks into counts as there for ``in`` and ``size()`` too; and the Kubernetes libraries for lists,
regular expressions, sets, URLs and IP addresses are missing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from functools import cache, lru_cache
from typing import Any

from cel_expr_python import cel
from cel_expr_python.ext import ext_bindings, ext_optional, ext_strings

from dra_common.testing.allocator.celtypes import POOL, QUANTITY, functions, quantity_value, semver_value

_INDEX = re.compile(r"""\[\s*\??\s*(?:"([^"\\]*)"|'([^'\\]*)')\s*\]""")
_MENTION = re.compile(r"""device\.(attributes|capacity)\[\s*\??\s*["']([^"']*)["']\s*\]\.\??(\w+)""")
_STATUS = re.compile(r"^[A-Z_]+: |\s*\[[A-Z_]+\]$")


class SelectorError(Exception):
    """Why an expression does not compile, or could not be evaluated on a device."""


class Facts:
    """What selectors can see of one device.

    Args:
        driver: the slice's driver; the domain of names without one.
        device: an entry of ``spec.devices``.

    Raises SelectorError for values that no API server stores.
    """

    def __init__(self, driver: str, device: Mapping[str, Any]) -> None:
        self.driver = driver
        self.shared = device.get("allowMultipleAllocations") is True
        self.attributes: dict[str, dict[str, Any]] = {}
        self.capacity: dict[str, dict[str, Any]] = {}
        self._texts: dict[tuple[str, str, str], str] = {}
        for name, value in device.get("attributes", {}).items():
            content = next(iter(value.values()), None)
            self._add(self.attributes, "attributes", name, _converted(name, _attribute, value), content)
        for name, value in device.get("capacity", {}).items():
            text = str(value.get("value"))
            self._add(self.capacity, "capacity", name, _converted(name, quantity_value, text), text)

    def mentioned(self, expression: str) -> str:
        """Return what this device has for the attributes and capacities that ``expression`` mentions."""
        keys = dict.fromkeys((match[1], match[2], match[3]) for match in _MENTION.finditer(expression))
        return ", ".join(f"{key[2]} {self._texts.get(key, 'is not set')}" for key in keys)

    def _add(
        self, into: dict[str, dict[str, Any]], kind: str, name: str, value: object, text: object
    ) -> None:
        domain, _, identifier = name.rpartition("/")
        into.setdefault(domain or self.driver, {})[identifier] = value
        self._texts[kind, domain or self.driver, identifier] = f"is {json.dumps(text, ensure_ascii=False)}"


class Selector:
    """One compiled expression. Raises SelectorError if it does not compile, or is certain not to give a bool."""

    def __init__(self, expression: str) -> None:
        self.expression = expression
        try:
            self._program = _environment().compile(expression)
        except (RuntimeError, ValueError) as error:
            raise SelectorError(_first_line(error)) from error
        result = self._program.return_type()
        if result not in (cel.Type.BOOL, cel.Type.DYN):
            msg = f"must give a bool, not {result.name()}"
            raise SelectorError(msg)
        self._domains = {first or second for first, second in _INDEX.findall(expression)}

    def matches(self, facts: Facts) -> bool:
        """Evaluate on one device. Raises SelectorError, for example when an attribute is not there."""
        result = self._program.eval(
            data={
                "device.driver": facts.driver,
                "device.allowMultipleAllocations": facts.shared,
                "device.attributes": self._with_empty(facts.attributes),
                "device.capacity": self._with_empty(facts.capacity),
            }
        )
        if result.type() == cel.Type.BOOL:
            return bool(result.value())
        if result.type() == cel.Type.ERROR:
            raise SelectorError(_STATUS.sub("", str(result.value())))
        msg = f"gives {result.type().name()}, not a bool"
        raise SelectorError(msg)

    def _with_empty(self, values: Mapping[str, Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
        """In Kubernetes a domain that a device does not have is an empty map, not an error."""
        return {domain: values.get(domain, {}) for domain in self._domains | set(values)}


@lru_cache(maxsize=1024)
def compiled(expression: str) -> Selector:
    """Return the selector for an expression; the same one for the same text. Raises SelectorError."""
    return Selector(expression)


@cache
def _environment() -> cel.Env:
    kind = cel.Type
    by_name = kind.Map(kind.STRING, kind.DYN)
    return cel.NewEnv(
        POOL,
        # Dotted names, so that a misspelt field of `device` is a compile error.
        variables={
            "device.driver": kind.STRING,
            "device.allowMultipleAllocations": kind.BOOL,
            "device.attributes": kind.Map(kind.STRING, by_name),
            "device.capacity": kind.Map(kind.STRING, kind.Map(kind.STRING, QUANTITY)),
        },
        functions=functions(),
        extensions=[ext_strings.ExtStrings(), ext_optional.ExtOptional(), ext_bindings.ExtBindings()],
    )


def _attribute(value: Mapping[str, Any]) -> object:
    kind, content = next(iter(value.items()), ("", ""))
    if kind in ("version", "versions"):
        return semver_value(content) if kind == "version" else [semver_value(item) for item in content]
    if kind not in ("int", "bool", "string", "ints", "bools", "strings"):
        msg = "unsupported attribute value"
        raise ValueError(msg)
    return content


def _converted(name: str, convert: Callable[[Any], object], value: object) -> object:
    try:
        return convert(value)
    except ValueError as error:
        msg = f"{name}: {error}"
        raise SelectorError(msg) from error


def _first_line(error: Exception) -> str:
    """``ERROR: <input>:1:7: undeclared reference …`` without the status word and the picture below."""
    line = str(error).partition("\n")[0]
    return re.sub(
        r"^[A-Z_]+: (ERROR: )?(<input>:)?", "", _STATUS.sub("", line) if "<input>" not in line else line
    )
