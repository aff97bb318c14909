"""The generated parts of docs/ that come from a driver: what every one of them has."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import admission
import docs_chart
import docs_common
from docs_markdown import code, table
from dra_common.definition import Definition
from dra_common.driver import ConfigKind, Driver, Published
from dra_common.model import Attribute, Device, Version
from dra_common.policy import PolicyKind, schema
from dra_common.simulate import SimulatedHost, Simulation, Simulator, find_profile, list_profiles
from dra_common.vocabulary import TaintTerm, Term
from pydantic import BaseModel


@dataclass(frozen=True, slots=True)
class Documented:
    """A driver, and what stands on its pages.

    Args:
        name: what its pages, schemas and parts begin with: ``gpu``.
        definition: the program.
        claim: what a claim may ask for.
        attributes: the published names.
        capacities: those that are quantities.
        taints: what keeps claims away.
        example: the simulated machine whose last device is the example of names.
        tainted: the one whose devices are the examples of taints.
        details: what a profile says of a device beyond PCI.
    """

    name: str
    definition: Definition
    claim: ConfigKind
    attributes: Sequence[Term]
    capacities: Sequence[Term]
    taints: Sequence[TaintTerm]
    example: str
    tainted: str
    details: type[BaseModel]

    @property
    def package(self) -> str:
        """The folder of its package and of its chart: ``gpu-driver``."""
        return self.definition.program

    @property
    def policy(self) -> PolicyKind:
        """What its configuration file is."""
        kind = self.definition.driver.policy_kind
        if kind is None:
            raise ValueError(f"{self.package} has no configuration file")
        return kind

    def sections(self) -> dict[str, Callable[[], str]]:
        """Return parts of pages by name."""
        parts: dict[str, Callable[[], str]] = {
            "attributes": lambda: attributes(self),
            "capacities": lambda: capacities(self),
            "chart-values": lambda: docs_chart.values_table(self.package),
            "claim-config": lambda: docs_common.opaque_fields(self.claim),
            "commands": lambda: docs_common.commands(self.definition),
            "config": lambda: docs_common.config_fields(self.policy),
            "details": lambda: docs_common.fields(self.details),
            "profiles": lambda: profiles(self),
            "taints": lambda: taints(self),
        }
        return {f"{self.name}-{part}": make for part, make in parts.items()}

    def files(self) -> dict[str, Callable[[str], str]]:
        """Return files by path below the root -> what makes each of what is there."""
        chart = f"deployments/{self.package}/chart"
        driver = self.definition.driver
        return {
            f"docs/user/{self.name}-claim-config.schema.json": lambda _: _json(
                docs_common.opaque_schema(self.claim)
            ),
            f"docs/user/{self.name}-driver-config.schema.json": lambda _: _json(schema(self.policy)),
            f"{chart}/templates/claims.yaml": lambda _: admission.template(driver.name, driver.config_kinds),
            f"{chart}/values.schema.json": lambda page: docs_chart.with_config(page, self.policy),
        }


# --------------------------------------------------------------------------- names


def attributes(of: Documented) -> str:
    """Return the attributes, with the values of a device of a simulated machine."""
    example = _example(of)
    values = {name: _value(value) for name, value in example.attributes.items()}
    return _terms(of.attributes, values, f"`{example.name}` of `{of.example}`")


def capacities(of: Documented) -> str:
    """Return the capacities, with the values of the same device."""
    example = _example(of)
    values = {name: str(capacity.value) for name, capacity in example.capacity.items()}
    return _terms(of.capacities, values, f"`{example.name}` of `{of.example}`")


def taints(of: Documented) -> str:
    """Return the taints, each with a device of a simulated machine that has it."""
    devices = _devices(of, of.tainted)
    found = {taint.key: device.name for device in devices for taint in device.taints}
    rows = [
        (
            code(term.key),
            ", ".join(code(each) for each in (term.effect, term.other) if each),
            term.value or "none",
            f"{term.meaning} Ends when {term.ends}.",
            code(found.get(term.key, "")),
        )
        for term in of.taints
    ]
    return table(("key", "effect", "value", "meaning", f"example in `{of.tainted}`"), rows)


def _example(of: Documented) -> Device:
    return _devices(of, of.example)[-1]


def _devices(of: Documented, profile: str) -> tuple[Device, ...]:
    return published(of.definition.driver, of.definition.simulation(), profile).devices


def _value(value: Attribute) -> str:
    return json.dumps(value.value if isinstance(value, Version) else value)


def _terms(terms: Iterable[Term], values: Mapping[str, str], example: str) -> str:
    rows = [
        (code(term.name), term.kind, term.meaning, term.absent or "never", code(values.get(term.name, "")))
        for term in terms
    ]
    return table(("name", "type", "meaning", "absent when", example), rows)


# --------------------------------------------------------------------------- simulated machines


def published(driver: Driver[Any], simulation: Simulation, profile: str) -> Published:
    """Return what a driver publishes of a simulated machine."""
    with tempfile.TemporaryDirectory(prefix="dra") as folder:
        root = Path(folder)
        with Simulator(simulation, find_profile(simulation, profile), root):
            return driver.publish(driver.discover(SimulatedHost(root)).hardware)


def profiles(of: Documented) -> str:
    """Return the machines that the driver ships."""
    rows = [(code(name), description) for name, description in list_profiles(of.definition.simulation())]
    return table(("profile", "machine"), rows)


def _json(found: Mapping[str, Any]) -> str:
    return f"{json.dumps(found, indent=2)}\n"
