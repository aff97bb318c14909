"""Reading profiles: YAML with line numbers in its errors, ``repeat``, and the check of ``details``."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from importlib.resources.abc import Traversable
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from dra_common.document import Document, reason
from dra_common.errors import SettingsError
from dra_common.simulate.profile import FunctionSpec, Profile

Details = Mapping[str, type[BaseModel]]
"""Key below ``details`` -> model."""

_INT = re.compile(r"-?(?:0|[1-9][0-9]*)")
_LIMIT = 4096


class _Counter(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    start: int | str = 0
    step: int = 1

    def at(self, index: int) -> int:
        return int(str(self.start), 0) + self.step * index


class _Repeat(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    count: int = Field(ge=0, le=_LIMIT)
    counters: dict[str, _Counter] = {}

    def values(self, index: int) -> dict[str, int]:
        return {"i": index, **{name: counter.at(index) for name, counter in self.counters.items()}}


def load_profile(file: Traversable, details: Details) -> Profile:
    """Read and check a profile. Raises SettingsError naming the file, the line, the field and what is wrong."""
    document = _read(file)
    functions, origins = _expand(document)
    try:
        profile = Profile.model_validate_json(json.dumps({**document.value, "functions": functions}))
    except ValidationError as error:
        raise _explain(document, error, origins) from None
    _check_details(document, profile, details, origins)
    return profile


def parse_details(spec: FunctionSpec, models: Details) -> dict[str, BaseModel]:
    """Decode ``details`` of a function. Raises ValidationError, KeyError (a key that no model is for)."""
    return {key: _parse(models[key], raw) for key, raw in spec.details.items()}


def _parse(model: type[BaseModel], raw: Mapping[str, Any]) -> BaseModel:
    # By way of JSON: a strict model then still takes a list for a tuple.
    return model.model_validate_json(json.dumps(raw))


def _read(file: Traversable) -> Document:
    try:
        content = file.read_bytes()
    except OSError as error:
        raise SettingsError(f"profile {file}: cannot be read: {error.strerror}") from None
    return Document(f"profile {file}", content, "begin with `name: …`")


# --------------------------------------------------------------------------- repeat


def _expand(document: Document) -> tuple[object, list[int]]:
    """Return all functions, and for each the index of the item in the file it comes from."""
    functions: list[object] = []
    origins: list[int] = []
    items = document.value.get("functions", [])
    for index, item in enumerate(items if isinstance(items, list) else []):
        copies = _copies(document, index, item)
        functions += copies
        origins += [index] * len(copies)
    return functions if isinstance(items, list) else items, origins


def _copies(document: Document, index: int, item: object) -> list[object]:
    if not isinstance(item, dict) or "repeat" not in item:
        return [item]
    rest = {key: value for key, value in item.items() if key != "repeat"}
    try:
        repeat = _Repeat.model_validate(item["repeat"])
        return [_fill(rest, repeat.values(number)) for number in range(repeat.count)]
    except ValidationError as error:
        raise document.explain(error, ("functions", index, "repeat")) from None
    except (KeyError, IndexError, ValueError) as error:
        why = f"unknown counter {error}" if isinstance(error, KeyError) else str(error)
        raise document.wrong(("functions", index, "repeat"), why) from None


def _fill(value: object, numbers: Mapping[str, int]) -> object:
    if isinstance(value, dict):
        return {key: _fill(item, numbers) for key, item in value.items()}
    if isinstance(value, list):
        return [_fill(item, numbers) for item in value]
    if isinstance(value, str) and "{" in value:
        text = value.format(**numbers)
        return int(text) if _INT.fullmatch(text) else text
    return value


# --------------------------------------------------------------------------- errors


def _check_details(document: Document, profile: Profile, models: Details, origins: Sequence[int]) -> None:
    for index, spec in enumerate(profile.functions):
        for key, raw in spec.details.items():
            where = ("functions", origins[index], "details", key)
            if key not in models:
                known = ", ".join(sorted(models)) or "none"
                why = f"details.{key} is not known"
                raise document.wrong(where, why, cure=f"known here: {known}", shown=(spec.bdf,))
            try:
                _parse(models[key], raw)
            except ValidationError as error:
                raise document.explain(error, where) from None


def _explain(document: Document, error: ValidationError, origins: Sequence[int]) -> SettingsError:
    """As the document does, but of the item of ``functions`` that the repeated one comes from."""
    place = [*error.errors(include_url=False)[0]["loc"]]
    if place[:1] == ["functions"] and len(place) > 1 and isinstance(place[1], int):
        place[1] = origins[place[1]]
    return document.wrong(place, reason(error), shown=place or ("profile",))
