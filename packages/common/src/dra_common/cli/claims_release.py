"""``claims release``: undo one claim that the kubelet will never unprepare, on an operator's word."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Annotated

import typer

from dra_common.cli import options
from dra_common.cli.node import Node, open_node
from dra_common.cli.run import host_settings
from dra_common.deadline import Deadline
from dra_common.definition import Definition
from dra_common.errors import ClaimError, ClusterError, CorruptRecord, DraError, NotFound, SettingsError
from dra_common.garbage import is_gone
from dra_common.model import ClaimRecord, is_uid
from dra_common.recovery import forget
from dra_common.settings import Settings
from dra_common.users import users_of

_DEFAULT = Settings(node_name="")
_WAIT = 10.0
"""Seconds to wait for the claim's lock, for its hardware, and for the API server."""


def register(group: typer.Typer, definition: Definition) -> None:
    """Add the command to the group."""

    @group.command()
    def release(  # noqa: PLR0913 - one parameter for each flag
        uid: Annotated[str, typer.Argument(metavar="UID", help="The claim's UID, as `claims` lists it.")],
        *,
        yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
        kubeconfig: options.Kubeconfig = "",
        kubelet_plugins_dir: options.PluginsDir = _DEFAULT.kubelet_plugins_dir,
        cdi_root: options.CdiRoot = _DEFAULT.cdi_root,
        cdi_dynamic_root: options.CdiDynamicRoot = _DEFAULT.cdi_dynamic_root,
        sysfs_root: options.SysfsRoot = _DEFAULT.host.sysfs_root,
        devfs_root: options.DevfsRoot = _DEFAULT.host.devfs_root,
        procfs_root: options.ProcfsRoot = _DEFAULT.host.procfs_root,
        simulated_root: options.SimulatedRoot = "",
    ) -> None:
        """Undo a claim on this node as if its pod had ended: its devices can be given to another claim at once.

        For claims whose pod was deleted by force. Says first what is known of the claim, then asks.
        """
        settings = Settings(
            node_name="",
            host=host_settings(sysfs_root, devfs_root, procfs_root, "", simulated_root),
            kubelet_plugins_dir=kubelet_plugins_dir,
            cdi_root=cdi_root,
            cdi_dynamic_root=cdi_dynamic_root,
        )
        node = open_node(definition, settings)
        seen = _find(node, uid)
        for title, text in _known(node, uid, seen, kubeconfig):
            typer.echo(f"{title + ':':<12}{text}")
        _confirm(yes=yes)
        _release(node, uid, seen)
        typer.echo("released")


def _find(node: Node, uid: str) -> ClaimRecord | None:
    """Return the claim's record, None if it cannot be read. Raises ClaimError, NewerRecord, StateError."""
    if not is_uid(uid):
        msg = f"{uid!r} is not a claim's UID"
        raise SettingsError(msg, cure="`claims` lists them")
    try:
        record = node.state.records.load(uid)
    except CorruptRecord:
        return None
    if record is None and uid not in node.state.records.set_aside_uids():
        msg = f"claim {uid}: this node has no record of it"
        raise ClaimError(
            msg, cure="`claims` lists what it has; `claims repair` removes what belongs to no claim"
        )
    return record


def _known(node: Node, uid: str, record: ClaimRecord | None, kubeconfig: str) -> Iterator[tuple[str, str]]:
    if record is None:
        yield "claim", f"uid {uid}; its record cannot be read: what its hardware was before is not known"
        held = (device for (device, _), holder in node.state.holds.holders().items() if holder == uid)
        yield "devices", ", ".join(sorted(held)) or "none"
        return
    boot = "in this boot" if record.boot_id == node.lifecycle.boot_id else "in an earlier boot"
    yield "claim", str(record.ref)
    yield "phase", f"{record.phase}, {boot}" + (f": {record.error}" if record.error else "")
    yield "devices", ", ".join(planned.allocated.device for planned in record.plan.devices) or "none"
    yield "in use", _in_use(node, record)
    yield "API server", _at_server(record, kubeconfig)


def _in_use(node: Node, record: ClaimRecord) -> str:
    try:
        classes = node.lifecycle.specs(record)
        edits = (edits for devices in classes.values() for edits in devices.values())
        nodes = {path for edit in edits for each in edit.device_nodes for path in (each.path, each.host_path)}
        users = users_of({path for path in nodes if path}, node.host.procfs)
    except DraError as error:
        return f"not known: {error.message}"
    if users:
        return f"its devices are open in process {', '.join(map(str, users))}"
    return "no process that can be seen from here has its devices open"


def _at_server(record: ClaimRecord, kubeconfig: str) -> str:
    if not record.ref.is_named:
        return "not asked: of an adopted claim only the UID is known until the kubelet asks for it"
    from dra_common.cluster import ClusterClaims, connect  # noqa: PLC0415 - loads kubernetes

    try:
        api = connect(kubeconfig or None)
    except DraError as error:
        return f"not asked: {error.message}"
    try:
        claim = ClusterClaims(api).read(record.ref, Deadline.after(_WAIT))
        reserved = [str(user.get("name")) for user in claim.get("status", {}).get("reservedFor", ())]
        there = f"has the claim, for {', '.join(reserved)}" if reserved else "has the claim, for no pod"
        return "has another claim of this name" if is_gone(claim, record.ref.uid) else there
    except NotFound as error:
        return "does not have the claim" if error.definite else f"does not say: {error.message}"
    except ClusterError as error:
        return f"does not say: {error.message}"
    finally:
        api.close()


def _confirm(*, yes: bool) -> None:
    if yes:
        return
    if not sys.stdin.isatty():
        msg = "nobody is there to be asked, and without an answer nothing is released"
        raise SettingsError(msg, cure="give --yes once you are certain that no container of the claim runs")
    typer.echo(
        "A container that still runs keeps the devices, and another claim may get them at the same time."
    )
    if not typer.confirm("Release it?", default=False):
        raise typer.Exit(1)


def _release(node: Node, uid: str, seen: ClaimRecord | None) -> None:
    """Undo the claim under its lock, unless it is another one than was shown. Raises DraError."""
    deadline = Deadline.after(_WAIT)
    with node.locks.claim(uid, deadline):
        if _find(node, uid) != seen:
            msg = f"claim {uid} has changed since it was shown: nothing was done"
            raise ClaimError(msg, cure="look again")
        if seen is None:
            forget(node.lifecycle, node.locks, uid, deadline)
        else:
            with node.locks.parents(seen.plan.parents, deadline):
                node.lifecycle.undo(seen)
        node.locks.forget_claim(uid)
