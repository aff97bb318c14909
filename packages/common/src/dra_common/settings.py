"""What an operator can set. Flags and environment variables are declared in :mod:`dra_common.cli.options`.

Bad values are refused at the start with one line that says what is allowed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv6Address, ip_address
from pathlib import Path

from dra_common.errors import SettingsError
from dra_common.log import LogFormat
from dra_common.model import TaintEffect
from dra_common.slices import FeatureName

_NODE_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_NODE_NAME_LIMIT = 253
_POD_UID = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9]{0,61}[A-Za-z0-9])?")
_LAST_PORT, _PORT_DIGITS = 65535, 5
_LONGEST_PERIOD = 86400
_EFFECTS = (TaintEffect.NO_EXECUTE.value, TaintEffect.NO_SCHEDULE.value)


@dataclass(frozen=True, slots=True)
class HostSettings:
    """Where the machine is looked at, and what CDI files call it.

    Args:
        sysfs_root: where sysfs is mounted for us.
        devfs_root: where the device nodes are for us.
        procfs_root: where procfs is mounted for us.
        cdi_devfs_root: where the device nodes are on the host, as CDI files must say; the same as ``devfs_root``
            unless a container sees the host's ``/dev`` in another place.
        simulated_root: a folder made by the ``simulate`` command; replaces all others.
    """

    sysfs_root: Path = Path("/sys")
    devfs_root: Path = Path("/dev")
    procfs_root: Path = Path("/proc")
    cdi_devfs_root: Path | None = None
    simulated_root: Path | None = None

    def check(self) -> None:
        """Refuse folders that are not there. Raises SettingsError."""
        if self.simulated_root is not None:
            _check_folder(
                "--simulated-root", self.simulated_root / "sys", "a folder made by the simulate command"
            )
            return
        _check_folder("SYSFS_ROOT", self.sysfs_root, "the folder where sysfs is mounted")
        _check_folder("DEVFS_ROOT", self.devfs_root, "the folder with the device nodes")
        _check_folder("PROCFS_ROOT", self.procfs_root, "the folder where procfs is mounted")


NO_SOURCES = "none"


@dataclass(frozen=True, slots=True)
class HealthSettings:
    """Whether and how the health of devices is watched.

    Args:
        monitoring: whether at all.
        optional: whether a source that stays away is no reason for more than a line in the log.
        ignore_warning: only what is critical, or worse, makes a device unhealthy.
        sources: names of those to listen to; empty = all that the driver has.
        file: for the source ``file``; None = not used unless named.
        effect: of the taint of unhealthy devices; None = they get none.
    """

    monitoring: bool = False
    optional: bool = False
    ignore_warning: bool = True
    sources: tuple[str, ...] = ()
    file: Path | None = None
    effect: TaintEffect | None = TaintEffect.NO_EXECUTE

    @property
    def on(self) -> bool:
        """Whether anybody is to be listened to."""
        return self.monitoring and self.sources != (NO_SOURCES,)

    def check(self) -> None:
        """Refuse what cannot work. Raises SettingsError."""
        if "file" in self.sources and self.file is None:
            msg = "--health-sources (HEALTH_SOURCES) names file, but there is no file"
            raise SettingsError(msg, cure="name it with --health-file")
        if NO_SOURCES in self.sources and len(self.sources) > 1:
            msg = f"--health-sources (HEALTH_SOURCES) names {NO_SOURCES} and {self.sources[-1]}"
            raise SettingsError(msg, cure=f"leave out {NO_SOURCES}, or all others")


def parse_effect(text: str) -> TaintEffect | None:
    """Return the effect of a taint; ``none`` = no taint. Raises SettingsError."""
    if text.lower() == "none":
        return None
    if text in _EFFECTS:
        return TaintEffect(text)
    msg = f"--health-taint (HEALTH_TAINT) {text!r} is not an effect"
    raise SettingsError(msg, cure=f"allowed: {', '.join(_EFFECTS)}, none")


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything ``run`` needs.

    Args:
        node_name: the Node object's name; also the name of the ResourceSlice pool.
        kubelet_plugins_dir: the kubelet's folder of plugin data; ours is ``<it>/<driver name>``.
        kubelet_registry_dir: the folder in which the kubelet looks for registration sockets.
        pod_uid: of the pod that this process runs in; empty = one instance of the driver at a time.
        cdi_root: folder of static CDI files; ``cdi generate`` writes there. The daemon only removes what a driver that
            it replaced left there, once no claim needs that.
        cdi_dynamic_root: folder of per-claim CDI files, emptied at boot.
        kubeconfig: path of a kubeconfig; None = the in-cluster service account.
        healthcheck_port: TCP port of the gRPC health service on all addresses; negative = off.
        http_endpoint: ``address:port`` of metrics and probes over HTTP, ``:port`` = all addresses; empty = off.
        rescan_seconds: how often the machine is looked at when no event rings.
        gc_seconds: how often claims are looked at that nobody finishes or that may be over.
        server_features_off: not used in slices although the API server would store it, because a scheduler of the
            cluster has the feature gate off: it would ignore the slice, and with it the whole pool.
        config: the driver's configuration file; None = there is none.
        flags: fields of the driver's policy that were given as flags or variables, which win over the file.
        health: whether and how the health of devices is watched.
        claim_status: whether it is told in ResourceClaims (``status.devices``) what became of them.
        verbosity: klog style; from 4 on debug lines are logged.
    """

    node_name: str
    host: HostSettings = field(default_factory=HostSettings)
    kubelet_plugins_dir: Path = Path("/var/lib/kubelet/plugins")
    kubelet_registry_dir: Path = Path("/var/lib/kubelet/plugins_registry")
    pod_uid: str = ""
    cdi_root: Path = Path("/etc/cdi")
    cdi_dynamic_root: Path = Path("/var/run/cdi")
    kubeconfig: Path | None = None
    healthcheck_port: int = 51516
    http_endpoint: str = ""
    rescan_seconds: float = 60.0
    gc_seconds: float = 60.0
    server_features_off: tuple[FeatureName, ...] = ()
    config: Path | None = None
    flags: Mapping[str, object] = field(default_factory=dict)
    health: HealthSettings = field(default_factory=HealthSettings)
    claim_status: bool = False
    log_format: LogFormat = "text"
    verbosity: int = 0

    def check(self) -> None:
        """Refuse what cannot work. Raises SettingsError."""
        self.host.check()
        self.health.check()
        if not _NODE_NAME.fullmatch(self.node_name) or len(self.node_name) > _NODE_NAME_LIMIT:
            msg = f"--node-name (NODE_NAME) {self.node_name!r} is not a node name"
            raise SettingsError(
                msg, cure="it must be the name of this node's Node object: a DNS-1123 subdomain"
            )
        if self.pod_uid and not _POD_UID.fullmatch(self.pod_uid):
            msg = f"--pod-uid (POD_UID) {self.pod_uid!r} is not a UID"
            raise SettingsError(
                msg,
                cure="set it from the pod's metadata.uid, or leave it out where one instance runs at a time",
            )
        if self.healthcheck_port > _LAST_PORT:
            msg = f"--healthcheck-port (HEALTHCHECK_PORT) {self.healthcheck_port} is not a port"
            raise SettingsError(
                msg, cure="allowed: 0 to 65535, or a negative number to switch the service off"
            )
        if self.http_endpoint:
            parse_endpoint(self.http_endpoint)
        _check_period("--rescan-seconds (RESCAN_SECONDS)", self.rescan_seconds)
        _check_period("--gc-seconds (GC_SECONDS)", self.gc_seconds)
        if self.kubeconfig is not None and not self.kubeconfig.is_file():
            msg = f"--kubeconfig (KUBECONFIG) {self.kubeconfig} is not a file"
            raise SettingsError(msg, cure="name a kubeconfig file, or leave it out inside a cluster")


def _check_period(name: str, seconds: float) -> None:
    # Written this way round, "nan" is refused too.
    if not 1 <= seconds <= _LONGEST_PERIOD:
        msg = f"{name} {seconds:g} is not possible"
        raise SettingsError(msg, cure=f"allowed: 1 to {_LONGEST_PERIOD}")


def parse_endpoint(text: str) -> tuple[str, int]:
    """Return the IP address (empty = all) and port of ``:9090``, ``127.0.0.1:9090`` or ``[::1]:9090``.

    Raises SettingsError.
    """
    host, colon, port = text.rpartition(":")
    address = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if colon and _is_address(address, bracketed=address != host) and _is_port(port):
        return address, int(port)
    msg = f"--http-endpoint (HTTP_ENDPOINT) {text!r} is not an address with a port"
    raise SettingsError(msg, cure="allowed: :9090, 127.0.0.1:9090 or [::1]:9090; empty switches it off")


def _is_address(text: str, *, bracketed: bool) -> bool:
    try:
        return isinstance(ip_address(text), IPv6Address) is bracketed if text else not bracketed
    except ValueError:
        return False


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= _PORT_DIGITS and int(text) <= _LAST_PORT


def _check_folder(name: str, folder: Path, what: str) -> None:
    if not folder.is_dir():
        msg = f"{name}: {folder} is not a folder"
        raise SettingsError(msg, cure=f"it must be {what}")
