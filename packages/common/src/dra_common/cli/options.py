"""Flags and environment variables, one type for each: the single source of what ``--help`` says.

Names and defaults that the Go drivers have are kept, so that their DaemonSets keep working.
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

_KUBELET, _HOST, _HEALTH, _LOG = "Kubelet and cluster", "Machine", "Health", "Logging"


class LoggingFormat(StrEnum):
    """Values of ``--logging-format``."""

    TEXT = "text"
    JSON = "json"


NodeName = Annotated[
    str,
    typer.Option(
        envvar="NODE_NAME",
        help="Name of this node's Node object; also the pool's name.",
        rich_help_panel=_KUBELET,
    ),
]
Kubeconfig = Annotated[
    str,
    typer.Option(
        envvar="KUBECONFIG", help="Path of a kubeconfig; empty inside a cluster.", rich_help_panel=_KUBELET
    ),
]
PluginsDir = Annotated[
    Path,
    typer.Option(
        envvar="KUBELET_PLUGINS_DIR",
        help="The kubelet's folder of plugin data; this driver's sockets and records are in a folder of its own below.",
        rich_help_panel=_KUBELET,
    ),
]
RegistryDir = Annotated[
    Path,
    typer.Option(
        envvar="KUBELET_REGISTRY_DIR",
        help="The folder in which the kubelet looks for registration sockets.",
        rich_help_panel=_KUBELET,
    ),
]
PodUid = Annotated[
    str,
    typer.Option(
        envvar="POD_UID",
        help="UID of the pod that this runs in (metadata.uid): during an upgrade the old and the new instance"
        " then serve side by side, each on sockets of its own; empty = one instance at a time.",
        rich_help_panel=_KUBELET,
    ),
]
CdiRoot = Annotated[
    Path, typer.Option(envvar="CDI_ROOT", help="Folder of static CDI files.", rich_help_panel=_KUBELET)
]
CdiDynamicRoot = Annotated[
    Path,
    typer.Option(
        envvar="CDI_DYNAMIC_ROOT",
        help="Folder of per-claim CDI files; the container runtime must read it and it must not survive a reboot.",
        rich_help_panel=_KUBELET,
    ),
]
HealthcheckPort = Annotated[
    int,
    typer.Option(
        envvar="HEALTHCHECK_PORT",
        help="TCP port of the gRPC health service (services '' = ready, 'liveness' = alive); negative = off.",
        rich_help_panel=_KUBELET,
    ),
]
HttpEndpoint = Annotated[
    str,
    typer.Option(
        envvar="HTTP_ENDPOINT",
        help="Address for /metrics, /healthz and /readyz over HTTP, as :9090 or 127.0.0.1:9090; empty = off.",
        rich_help_panel=_KUBELET,
    ),
]
SysfsRoot = Annotated[
    Path,
    typer.Option(envvar="SYSFS_ROOT", help="Where sysfs is mounted for this process.", rich_help_panel=_HOST),
]
DevfsRoot = Annotated[
    Path,
    typer.Option(envvar="DEVFS_ROOT", help="Where device nodes are for this process.", rich_help_panel=_HOST),
]
ProcfsRoot = Annotated[
    Path,
    typer.Option(
        envvar="PROCFS_ROOT", help="Where procfs is mounted for this process.", rich_help_panel=_HOST
    ),
]
CdiDevfsRoot = Annotated[
    str,
    typer.Option(
        envvar="CDI_DEVFS_ROOT",
        help="Where device nodes are on the host, as CDI files must say; empty = the same as --devfs-root.",
        rich_help_panel=_HOST,
    ),
]
SimulatedRoot = Annotated[
    str,
    typer.Option(
        envvar="SIMULATED_ROOT",
        help="Use the simulated machine in this folder (see the simulate command) in place of the real one.",
        rich_help_panel=_HOST,
    ),
]
RescanSeconds = Annotated[
    float,
    typer.Option(
        envvar="RESCAN_SECONDS",
        help="How often the machine is looked at when no kernel event says that something changed.",
        rich_help_panel=_HOST,
    ),
]
GcSeconds = Annotated[
    float,
    typer.Option(
        envvar="GC_SECONDS",
        help="How often claims are looked at that nobody finishes, or that the API server may no longer have.",
        rich_help_panel=_KUBELET,
    ),
]
ServerFeaturesOff = Annotated[
    str,
    typer.Option(
        envvar="SERVER_FEATURES_OFF",
        help="Never use these in ResourceSlices (comma-separated: taints, partitionable, consumable_capacity, or "
        "their feature gates): for a scheduler whose gates are off while the API server's are on.",
        rich_help_panel=_KUBELET,
    ),
]
ClaimStatus = Annotated[
    bool,
    typer.Option(
        "--claim-status",
        envvar="CLAIM_STATUS",
        help="Tell in the status of a ResourceClaim, after the kubelet is answered, whether its devices are ready and "
        "what they are; needs rights of its own.",
        rich_help_panel=_KUBELET,
    ),
]
Config = Annotated[
    str,
    typer.Option(
        envvar="CONFIG",
        help="The driver's configuration file (see config check); run reads it again when it changes.",
        rich_help_panel="Driver",
    ),
]
HealthMonitoring = Annotated[
    bool,
    typer.Option(
        "--health-monitoring/--no-health-monitoring",
        "-m",
        envvar="HEALTH_MONITORING",
        help="Watch the health of devices: unhealthy ones are tainted, and pods' statuses tell of it.",
        rich_help_panel=_HEALTH,
    ),
]
HealthMonitoringOptional = Annotated[
    bool,
    typer.Option(
        "--health-monitoring-optional/--no-health-monitoring-optional",
        "-o",
        envvar="HEALTH_MONITORING_OPTIONAL",
        help="A source of health that stays away for minutes is no reason for an Event. Without it the driver goes on"
        " just the same.",
        rich_help_panel=_HEALTH,
    ),
]
IgnoreHealthWarning = Annotated[
    bool,
    typer.Option(
        "--ignore-health-warning/--no-ignore-health-warning",
        "-w",
        envvar="IGNORE_HEALTH_WARNING",
        help="Only what is critical makes a device unhealthy; otherwise a warning does, too.",
        rich_help_panel=_HEALTH,
    ),
]
HealthSources = Annotated[
    str,
    typer.Option(
        envvar="HEALTH_SOURCES",
        help="Who is listened to, comma-separated; empty = all that this driver has, and file if there is one; none ="
        " nobody.",
        rich_help_panel=_HEALTH,
    ),
]
HealthFile = Annotated[
    str,
    typer.Option(
        envvar="HEALTH_FILE",
        help="A JSON or YAML file that says which devices are unhealthy, read again whenever it changes.",
        rich_help_panel=_HEALTH,
    ),
]
HealthTaint = Annotated[
    str,
    typer.Option(
        envvar="HEALTH_TAINT",
        help="Effect of the taint of an unhealthy device: NoExecute evicts the pods that use it, NoSchedule only keeps"
        " new ones away; none = no taint.",
        rich_help_panel=_HEALTH,
    ),
]
Format = Annotated[
    LoggingFormat,
    typer.Option("--logging-format", envvar="LOGGING_FORMAT", help="How lines look.", rich_help_panel=_LOG),
]
Verbosity = Annotated[
    int,
    typer.Option(
        "-v",
        "--v",
        envvar="V",
        help="0 to 3: information; 4 and more: also debug lines.",
        rich_help_panel=_LOG,
    ),
]


Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
