"""YAML written by people: what it says, and the line of each part, for errors that can be acted on.

Numbers with ``0x`` stay text (they are ids), ``0000:03:00.0`` stays text (YAML 1.1 would make it a number), a key may
not come twice.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence

import yaml
from pydantic import ValidationError

from dra_common.errors import SettingsError

_MOST_PARTS = 100_000
"""Values of a document: an anchor that is used again and again counts each time."""


class _Loader(yaml.SafeLoader):
    """YAML whose plain scalars are null, true, false, decimal integers, or text."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 - PyYAML's own shape


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:int", re.compile(r"^-?(?:0|[1-9][0-9]*)$"), list("-0123456789")
)
_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"^(?:true|false)$"), list("tf"))
_Loader.add_implicit_resolver("tag:yaml.org,2002:null", re.compile(r"^(?:null|~|)$"), ["n", "~", ""])


class Document:
    """One mapping in YAML.

    Args:
        name: what it is, for messages: ``configuration /etc/gpu.yaml``.
        content: the bytes of it.
        begin: how it begins, the cure for one that does not.

    Raises SettingsError naming the line and what is wrong.
    """

    def __init__(self, name: str, content: bytes, begin: str) -> None:
        self.name = name
        self._node = self._compose(content, begin)
        self.value = self._construct(begin)
        """What it says, as JSON would: mappings with text as keys, lists, text, integers, true, false, null."""

    def line(self, place: Sequence[str | int]) -> int:
        """Return the line of the innermost part of ``place`` that is in the document."""
        node, line = self._node, self._node.start_mark.line
        for step in place:
            found = _child(node, step)
            if found is None:
                break
            line, node = found
        return line + 1

    def wrong(
        self, place: Sequence[str | int], why: str, *, cure: str = "", shown: Sequence[str | int] = ()
    ) -> SettingsError:
        """Return the error of one part; ``shown`` is what it is called if not as ``place`` says."""
        name = ".".join(map(str, shown or place))
        where = f"{self.name}: line {self.line(place)}"
        return SettingsError(f"{where}: {name}: {why}" if name else f"{where}: {why}", cure=cure)

    def explain(self, error: ValidationError, prefix: tuple[str | int, ...] = ()) -> SettingsError:
        """Turn what a model has against a part into our error; the first of several, and their number."""
        first = error.errors(include_url=False)[0]
        place = (*prefix, *first["loc"])
        return self.wrong(place, reason(error), shown=place)

    def _compose(self, content: bytes, begin: str) -> yaml.Node:
        try:
            node = yaml.compose(content.decode(), Loader=_Loader)
        except UnicodeDecodeError as error:
            raise SettingsError(f"{self.name}: not UTF-8 text at byte {error.start}") from None
        except yaml.MarkedYAMLError as error:
            raise self._marked(error, "not YAML: ") from None
        except yaml.YAMLError as error:
            raise SettingsError(f"{self.name}: not YAML: {' '.join(str(error).split())}") from None
        except RecursionError:
            raise SettingsError(f"{self.name}: not YAML: nested too deeply") from None
        if node is None:
            raise SettingsError(f"{self.name}: is empty", cure=begin)
        return node

    def _construct(self, begin: str) -> dict[str, object]:
        self._check()
        loader = _Loader("")
        try:
            value = loader.construct_document(self._node)
            # By way of JSON: tags such as !!binary make what no model of ours takes.
            value = json.loads(json.dumps(value, allow_nan=False))
        except yaml.MarkedYAMLError as error:
            raise self._marked(error) from None
        except (TypeError, ValueError) as error:
            raise SettingsError(f"{self.name}: holds a value that JSON does not have: {error}") from None
        finally:
            loader.dispose()
        if not isinstance(value, dict):
            raise SettingsError(f"{self.name}: line 1: not a mapping", cure=begin)
        return value

    def _check(self) -> None:
        """Refuse what would be too much, or endless, once anchors are followed, and keys that come twice."""
        try:
            for count, (where, key) in enumerate(_parts(self._node)):
                if key:
                    raise SettingsError(f"{self.name}: line {where}: {key} is there twice")
                if count > _MOST_PARTS:
                    raise SettingsError(f"{self.name}: has more than {_MOST_PARTS} values")
        except RecursionError:
            raise SettingsError(
                f"{self.name}: an anchor contains itself, or it is nested too deeply"
            ) from None

    def _marked(self, error: yaml.MarkedYAMLError, what: str = "") -> SettingsError:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        return SettingsError(f"{self.name}: line {line}: {what}{error.problem}")


def reason(error: ValidationError) -> str:
    """Return what is wrong in a few words: the first objection of a model, and how many more there are."""
    first = error.errors(include_url=False)[0]
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    if first["type"] == "extra_forbidden":
        return f"unknown field{more}"
    why, got = str(first["msg"]).removeprefix("Value error, "), first["input"]
    shown = f", not {got!r}" if isinstance(got, str | int | float | bool) else ""
    return f"{why}{shown}{more}"


def _parts(node: yaml.Node) -> Iterator[tuple[int, str]]:
    """Yield once for each value; the line and the key instead where a key comes again."""
    yield 0, ""
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            name = str(key.value)
            if name in seen:
                yield key.start_mark.line + 1, name
            seen.add(name)
            yield from _parts(value)
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            yield from _parts(item)


def _child(node: yaml.Node, step: str | int) -> tuple[int, yaml.Node] | None:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if key.value == str(step):
                return key.start_mark.line, value
    elif isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
        item = node.value[step]
        return item.start_mark.line, item
    return None
