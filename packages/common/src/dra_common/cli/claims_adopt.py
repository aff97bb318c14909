"""``claims adopt``: what would be taken over from another driver of the same name."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from dra_common.adoption import Around, Finding, Verdict, look, read, written_in_this_boot
from dra_common.checkpoint import Format
from dra_common.cli import options
from dra_common.cli.run import host_settings
from dra_common.definition import Definition
from dra_common.driver import Driver
from dra_common.errors import CheckpointError, SettingsError
from dra_common.holds import FileHolds
from dra_common.hosts import open_host
from dra_common.ports import Found, Host
from dra_common.predecessor import PreparedClaims
from dra_common.records import FileRecords, claims_folder
from dra_common.settings import Settings
from dra_common.tables import print_table

_DEFAULT = Settings(node_name="")


@dataclass(frozen=True, slots=True)
class _Preview:
    """What an adoption would do now."""

    file: str
    format: Format
    this_boot: bool
    findings: tuple[Finding, ...]


def register(group: typer.Typer, definition: Definition) -> None:
    """Add the command to the group."""

    @group.command()
    def adopt(  # noqa: PLR0913 - one parameter for each flag
        *,
        dry_run: Annotated[
            bool, typer.Option("--dry-run", "-n", help="Say what would be adopted, change nothing; required.")
        ] = False,
        as_json: options.Json = False,
        node_name: options.NodeName = "",
        kubelet_plugins_dir: options.PluginsDir = _DEFAULT.kubelet_plugins_dir,
        kubelet_registry_dir: options.RegistryDir = _DEFAULT.kubelet_registry_dir,
        sysfs_root: options.SysfsRoot = _DEFAULT.host.sysfs_root,
        devfs_root: options.DevfsRoot = _DEFAULT.host.devfs_root,
        procfs_root: options.ProcfsRoot = _DEFAULT.host.procfs_root,
        simulated_root: options.SimulatedRoot = "",
    ) -> None:
        """Say which claims of another driver of the same name `run` would take over at its start; changes nothing.

        Works while the other driver runs. Exit code 0: all of them would be, or there are none. 1: some would not.
        """
        if not dry_run:
            msg = "claims adopt only tells what would be adopted"
            raise SettingsError(msg, cure="add --dry-run; adopting itself is done by run, at its start")
        driver, data = definition.driver, kubelet_plugins_dir / definition.driver.name
        _say_rival(definition, data, kubelet_registry_dir)
        host = open_host(host_settings(sysfs_root, devfs_root, procfs_root, "", simulated_root))
        file = PreparedClaims(data)
        found = file.read()
        preview = found and _preview(found, file.name, driver, host, _around(data, node_name))
        if as_json:
            typer.echo(json.dumps(_as_json(file.name, preview or None), indent=2))
        else:
            _print(file.name, preview or None)
        refused = preview and any(finding.verdict is Verdict.REFUSE for finding in preview.findings)
        raise typer.Exit(1 if refused else 0)


def _say_rival(definition: Definition, data: Path, registry: Path) -> None:
    from dra_common.kubelet import find_rival  # noqa: PLC0415 - loads grpc

    if rival := find_rival(definition.driver.name, data, registry):
        print(f"{definition.program}: warning: {rival}", file=sys.stderr)  # noqa: T201


def _around(data: Path, pool: str) -> Around:
    """What there is of ours, without making the folders that are not there yet."""
    claims, held = claims_folder(data), data / "held"
    known = FileRecords(claims).uids() if claims.is_dir() else ()
    holders: Mapping[tuple[str, str | None], str] = FileHolds(held).holders() if held.is_dir() else {}
    return Around(known, holders, present=(), pool=pool)


def _preview(found: Found, name: str, driver: Driver[Any], host: Host, around: Around) -> _Preview:
    try:
        checkpoint = read(found, driver)
    except CheckpointError as error:
        cure = "run would set it aside and serve without it: put a good copy in its place first"
        raise CheckpointError(f"{name}: {error.message}", cure=cure) from error
    wanted = {each.answer.device for claim in checkpoint.claims for each in claim.devices}
    present = driver.discover(host, only=wanted).hardware if wanted else {}
    findings = look(checkpoint, Around(around.known, around.holders, present.keys(), around.pool))
    return _Preview(name, checkpoint.format, written_in_this_boot(found, host), tuple(findings))


def _as_json(file: str, preview: _Preview | None) -> object:
    if preview is None:
        return {"file": file, "format": None, "claims": []}
    return {
        "file": file,
        "format": preview.format,
        "writtenInThisBoot": preview.this_boot,
        "claims": [
            {
                "uid": finding.claim.uid,
                "devices": list(finding.devices),
                "cdiIds": list(finding.ids),
                "verdict": finding.verdict,
                "why": finding.why,
            }
            for finding in preview.findings
        ],
    }


def _print(file: str, preview: _Preview | None) -> None:
    if preview is None:
        typer.echo(f"{file} is not there: nothing to adopt")
        return
    when = "in this boot" if preview.this_boot else "before this boot: prepared again when the kubelet asks"
    typer.echo(f"{file}: format {preview.format}, written {when}")
    if not preview.findings:
        typer.echo("no claims in it")
        return
    print_table(("UID", "VERDICT", "DEVICES", "CDI IDS", "WHY"), map(_row, preview.findings))


def _row(finding: Finding) -> list[str]:
    uid = ascii(finding.claim.uid)[1:-1]
    return [uid, finding.verdict, ", ".join(finding.devices), ", ".join(finding.ids), finding.why]
