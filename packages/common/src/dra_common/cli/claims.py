"""``claims``: what is recorded on this node."""

from __future__ import annotations

import json
from pathlib import Path

import typer

from dra_common.cli import claims_adopt, claims_audit, claims_release, options
from dra_common.codec import to_json
from dra_common.definition import Definition
from dra_common.errors import SettingsError, StateError
from dra_common.model import ClaimRecord
from dra_common.records import FileRecords, claims_folder
from dra_common.settings import Settings
from dra_common.tables import print_table

_DEFAULT = Settings(node_name="")


def register(cli: typer.Typer, definition: Definition) -> None:
    """Add the command and its group to ``cli``."""
    group = typer.Typer(invoke_without_command=True)
    cli.add_typer(group, name="claims")

    @group.callback()
    def claims(
        context: typer.Context,
        *,
        as_json: options.Json = False,
        kubelet_plugins_dir: options.PluginsDir = _DEFAULT.kubelet_plugins_dir,
    ) -> None:
        """List the claims that this driver has prepared on this node, from its records."""
        if context.invoked_subcommand:
            return
        folder = claims_folder(kubelet_plugins_dir / definition.driver.name)
        if not folder.is_dir():
            msg = f"{folder}: the driver has never run with this folder"
            raise SettingsError(msg, cure="name the kubelet's plugin folder with --kubelet-plugins-dir")
        found = _read(folder)
        if as_json:
            typer.echo(json.dumps([_as_json(uid, record) for uid, record in found], indent=2))
        else:
            _table(found)

    for module in (claims_adopt, claims_audit, claims_release):
        module.register(group, definition)


def _read(folder: Path) -> list[tuple[str, ClaimRecord | StateError]]:
    """Read without any lock: every file is replaced whole, so each is consistent in itself."""
    records = FileRecords(folder)
    return [(uid, record) for uid in records.uids() if (record := _one(records, uid)) is not None]


def _one(records: FileRecords, uid: str) -> ClaimRecord | StateError | None:
    try:
        return records.load(uid)
    except StateError as error:
        return error


def _as_json(uid: str, record: ClaimRecord | StateError) -> object:
    if isinstance(record, StateError):
        return {"ref": {"uid": uid}, "error": str(record)}
    return to_json(record)


def _table(found: list[tuple[str, ClaimRecord | StateError]]) -> None:
    if not found:
        typer.echo("no claims on this node")
        return
    print_table(("CLAIM", "UID", "PHASE", "DEVICES", "ERROR"), (_row(uid, record) for uid, record in found))


def _row(uid: str, record: ClaimRecord | StateError) -> list[str]:
    if isinstance(record, StateError):
        return ["?", uid, "unreadable", "", str(record)]
    devices = ", ".join(planned.allocated.device for planned in record.plan.devices)
    return [record.ref.full_name, uid, record.phase, devices, record.error]
