"""Frozen data that flows between the parts: devices, claims, plans, edits, prepared devices.

Nothing here reads a file, a clock or the network, and nothing here imports anything else of ours.
"""

from dra_common.model.claim import Allocated, Claim, ClaimRef, OpaqueConfig, is_uid
from dra_common.model.device import (
    Attribute,
    Capacity,
    CounterConsumption,
    CounterSet,
    Device,
    RequestPolicy,
    Taint,
    TaintEffect,
    Version,
    taint_value,
)
from dra_common.model.edits import ClaimEdits, ContainerEdits, DeviceNode, Edits, Hook, Mount, MountedFile
from dra_common.model.health import DeviceHealth, Finding, HealthState, Severity
from dra_common.model.parent import ModeUse, ParentMode
from dra_common.model.plan import Plan, PlannedDevice
from dra_common.model.prepared import PreparedDevice
from dra_common.model.quantity import Quantity
from dra_common.model.record import SCHEMA, ClaimRecord, Phase
from dra_common.model.snapshot import Snapshot

__all__ = [
    "SCHEMA",
    "Allocated",
    "Attribute",
    "Capacity",
    "Claim",
    "ClaimEdits",
    "ClaimRecord",
    "ClaimRef",
    "ContainerEdits",
    "CounterConsumption",
    "CounterSet",
    "Device",
    "DeviceHealth",
    "DeviceNode",
    "Edits",
    "Finding",
    "HealthState",
    "Hook",
    "ModeUse",
    "Mount",
    "MountedFile",
    "OpaqueConfig",
    "ParentMode",
    "Phase",
    "Plan",
    "PlannedDevice",
    "PreparedDevice",
    "Quantity",
    "RequestPolicy",
    "Severity",
    "Snapshot",
    "Taint",
    "TaintEffect",
    "Version",
    "is_uid",
    "taint_value",
]
