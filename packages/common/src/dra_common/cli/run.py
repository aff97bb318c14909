"""``run``: the node agent."""

from __future__ import annotations

from pathlib import Path

import typer

from dra_common.cli import compatibility, options
from dra_common.cli.policies import Given, with_policy
from dra_common.definition import Definition
from dra_common.log import setup
from dra_common.settings import HealthSettings, HostSettings, Settings, parse_effect
from dra_common.slices import parse_features
from dra_common.versions import installed

_DEFAULT = Settings(node_name="")
_DEBUG_FROM = 4


def register(cli: typer.Typer, definition: Definition) -> None:
    """Add the command to ``cli``."""

    def run(  # noqa: PLR0913 - one parameter for each flag
        *,
        node_name: options.NodeName,
        kubeconfig: options.Kubeconfig = "",
        kubelet_plugins_dir: options.PluginsDir = _DEFAULT.kubelet_plugins_dir,
        kubelet_registry_dir: options.RegistryDir = _DEFAULT.kubelet_registry_dir,
        pod_uid: options.PodUid = "",
        cdi_root: options.CdiRoot = _DEFAULT.cdi_root,
        cdi_dynamic_root: options.CdiDynamicRoot = _DEFAULT.cdi_dynamic_root,
        healthcheck_port: options.HealthcheckPort = _DEFAULT.healthcheck_port,
        http_endpoint: options.HttpEndpoint = _DEFAULT.http_endpoint,
        sysfs_root: options.SysfsRoot = _DEFAULT.host.sysfs_root,
        devfs_root: options.DevfsRoot = _DEFAULT.host.devfs_root,
        procfs_root: options.ProcfsRoot = _DEFAULT.host.procfs_root,
        cdi_devfs_root: options.CdiDevfsRoot = "",
        simulated_root: options.SimulatedRoot = "",
        rescan_seconds: options.RescanSeconds = _DEFAULT.rescan_seconds,
        gc_seconds: options.GcSeconds = _DEFAULT.gc_seconds,
        server_features_off: options.ServerFeaturesOff = "",
        health_monitoring: options.HealthMonitoring = definition.health_monitoring,
        health_monitoring_optional: options.HealthMonitoringOptional = _DEFAULT.health.optional,
        ignore_health_warning: options.IgnoreHealthWarning = _DEFAULT.health.ignore_warning,
        health_sources: options.HealthSources = "",
        health_file: options.HealthFile = "",
        health_taint: options.HealthTaint = str(_DEFAULT.health.effect),
        claim_status: options.ClaimStatus = False,
        logging_format: options.Format = options.LoggingFormat.TEXT,
        verbosity: options.Verbosity = 0,
        policy: Given,
    ) -> None:
        """Serve the kubelet of this node: publish devices, prepare and unprepare claims."""
        from dra_common.app import run as serve  # noqa: PLC0415 - loads grpc and kubernetes

        setup(logging_format.value, verbose=verbosity >= _DEBUG_FROM)
        host = host_settings(sysfs_root, devfs_root, procfs_root, cdi_devfs_root, simulated_root)
        health = HealthSettings(
            monitoring=health_monitoring,
            optional=health_monitoring_optional,
            ignore_warning=ignore_health_warning,
            sources=tuple(dict.fromkeys(health_sources.replace(",", " ").split())),
            file=Path(health_file) if health_file else None,
            effect=parse_effect(health_taint),
        )
        settings = Settings(
            node_name=node_name,
            host=host,
            kubelet_plugins_dir=kubelet_plugins_dir,
            kubelet_registry_dir=kubelet_registry_dir,
            pod_uid=pod_uid,
            cdi_root=cdi_root,
            cdi_dynamic_root=cdi_dynamic_root,
            kubeconfig=Path(kubeconfig) if kubeconfig else None,
            healthcheck_port=healthcheck_port,
            http_endpoint=http_endpoint,
            rescan_seconds=rescan_seconds,
            gc_seconds=gc_seconds,
            health=health,
            server_features_off=parse_features(
                server_features_off, "--server-features-off (SERVER_FEATURES_OFF)"
            ),
            claim_status=claim_status,
            config=policy.file,
            flags=policy.flags,
        )
        settings.check()
        serve(definition, settings, installed(definition.distribution))

    cli.command(epilog=compatibility.epilog())(with_policy(definition, run))


def host_settings(
    sysfs_root: Path, devfs_root: Path, procfs_root: Path, cdi_devfs_root: str, simulated_root: str
) -> HostSettings:
    """Return the host settings of one command's flags; an empty text means "not given"."""
    return HostSettings(
        sysfs_root=sysfs_root,
        devfs_root=devfs_root,
        procfs_root=procfs_root,
        cdi_devfs_root=Path(cdi_devfs_root) if cdi_devfs_root else None,
        simulated_root=Path(simulated_root) if simulated_root else None,
    )
