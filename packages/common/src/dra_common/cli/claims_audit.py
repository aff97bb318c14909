"""``claims verify`` and ``claims repair``: what is on this node, held against itself."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from dra_common.audit import Audit, Finding, Report
from dra_common.cli import options
from dra_common.cli.node import open_node
from dra_common.cli.run import host_settings
from dra_common.definition import Definition
from dra_common.repair import Repair, Repaired
from dra_common.settings import HostSettings, Settings
from dra_common.tables import print_table

_DEFAULT = Settings(node_name="")


def register(group: typer.Typer, definition: Definition) -> None:
    """Add both commands to the group."""

    @group.command()
    def verify(  # noqa: PLR0913 - one parameter for each flag
        *,
        as_json: options.Json = False,
        kubelet_plugins_dir: options.PluginsDir = _DEFAULT.kubelet_plugins_dir,
        cdi_root: options.CdiRoot = _DEFAULT.cdi_root,
        cdi_dynamic_root: options.CdiDynamicRoot = _DEFAULT.cdi_dynamic_root,
        sysfs_root: options.SysfsRoot = _DEFAULT.host.sysfs_root,
        devfs_root: options.DevfsRoot = _DEFAULT.host.devfs_root,
        procfs_root: options.ProcfsRoot = _DEFAULT.host.procfs_root,
        cdi_devfs_root: options.CdiDevfsRoot = "",
        simulated_root: options.SimulatedRoot = "",
    ) -> None:
        """Check records, holds and CDI files of this node against one another; changes nothing.

        Exit code 0: all is in order. 1: something is not; each line says what, and what to do.
        """
        host = host_settings(sysfs_root, devfs_root, procfs_root, cdi_devfs_root, simulated_root)
        report = _audit(definition, _settings(host, kubelet_plugins_dir, cdi_root, cdi_dynamic_root)).run()
        if as_json:
            typer.echo(json.dumps(_report_json(report), indent=2))
        else:
            _print_report(report)
        raise typer.Exit(1 if report.findings else 0)

    @group.command()
    def repair(  # noqa: PLR0913 - one parameter for each flag
        *,
        dry_run: Annotated[
            bool, typer.Option("--dry-run", "-n", help="Say what would be mended, change nothing.")
        ] = False,
        kubelet_plugins_dir: options.PluginsDir = _DEFAULT.kubelet_plugins_dir,
        cdi_root: options.CdiRoot = _DEFAULT.cdi_root,
        cdi_dynamic_root: options.CdiDynamicRoot = _DEFAULT.cdi_dynamic_root,
        sysfs_root: options.SysfsRoot = _DEFAULT.host.sysfs_root,
        devfs_root: options.DevfsRoot = _DEFAULT.host.devfs_root,
        procfs_root: options.ProcfsRoot = _DEFAULT.host.procfs_root,
        cdi_devfs_root: options.CdiDevfsRoot = "",
        simulated_root: options.SimulatedRoot = "",
    ) -> None:
        """Mend what `claims verify` finds, where that is safe: no device changes hands, no hardware is touched.

        Claims that a running driver works on are left to it. Exit code 0: all is in order now. 1: something is left.
        """
        host = host_settings(sysfs_root, devfs_root, procfs_root, cdi_devfs_root, simulated_root)
        audit = _audit(definition, _settings(host, kubelet_plugins_dir, cdi_root, cdi_dynamic_root))
        if dry_run:
            report = audit.run()
            _print_plan(report)
            raise typer.Exit(1 if report.findings else 0)
        repaired = Repair(audit).run()
        _print_repaired(repaired)
        raise typer.Exit(1 if repaired.left else 0)


def _settings(host: HostSettings, plugins: Path, cdi: Path, cdi_dynamic: Path) -> Settings:
    return Settings("", host, kubelet_plugins_dir=plugins, cdi_root=cdi, cdi_dynamic_root=cdi_dynamic)


def _audit(definition: Definition, settings: Settings) -> Audit[Any]:
    node = open_node(definition, settings)
    return Audit(node.lifecycle, node.state, node.locks)


def _report_json(report: Report) -> object:
    return {
        "claims": report.claims,
        "findings": [
            {
                "kind": finding.kind,
                "uid": finding.uid,
                "text": finding.text,
                "cure": finding.cure,
                "mendable": finding.mend is not None,
            }
            for finding in report.findings
        ],
        "busy": list(report.busy),
    }


def _print_report(report: Report) -> None:
    _print_busy(report.busy)
    if report.findings:
        _print_findings(report.findings)
    else:
        typer.echo(f"in order: {report.claims} claims on this node")


def _print_plan(report: Report) -> None:
    _print_busy(report.busy)
    for finding in report.findings:
        if finding.mend:
            typer.echo(f"would mend: {finding.text}{_of(finding)}")
    _print_left(tuple(finding for finding in report.findings if finding.mend is None))
    if not report.findings:
        typer.echo(f"in order: {report.claims} claims on this node")


def _print_repaired(repaired: Repaired) -> None:
    _print_busy(repaired.busy)
    for finding in repaired.mended:
        typer.echo(f"mended: {finding.text}{_of(finding)}")
    _print_left(repaired.left)
    if not repaired.left:
        typer.echo("in order now" if repaired.mended else "in order: nothing to mend")


def _print_left(findings: Sequence[Finding]) -> None:
    for finding in findings:
        typer.echo(f"left: {finding.text}{_of(finding)} ({finding.cure})")


def _of(finding: Finding) -> str:
    return f" [{finding.uid}]" if finding.uid and finding.uid not in finding.text else ""


def _print_busy(busy: Sequence[str]) -> None:
    for uid in busy:
        typer.echo(f"not looked at: another process works on claim {uid}", err=True)


def _print_findings(findings: Sequence[Finding]) -> None:
    rows = ([finding.kind, finding.uid or "-", finding.text, finding.cure] for finding in findings)
    print_table(("FINDING", "UID", "WHAT", "CURE"), rows)
