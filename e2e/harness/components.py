"""The programs of a one-node Kubernetes: their command lines and configuration files.

There is no kube-proxy and no DNS: the API server itself listens on the Service's address. Clients have tokens; the
only key made is that of service accounts, and the API server signs its serving certificate itself.

Source: the --help of each program; KubeletConfiguration v1beta1; containerd's docs/cri/config.md.
"""

import json
from collections.abc import Mapping
from pathlib import Path

from harness.node import ADDRESS, LOGS, NAME, SERVICE
from harness.settings import Settings, joined

CONF = Path("/run/disk/conf")
PKI = CONF / "pki"
CONTAINERD_SOCKET = "/run/containerd/containerd.sock"
AUDIT = "audit.json"
CNI_PLUGINS = "/usr/lib/cni"
PAUSE_IMAGE = "e2e.local/pause:1"
# Both would make it in /usr.
FLEX_VOLUMES = "/var/lib/kubelet/volume-plugins"
PODS = "10.244.0.0/24"
# In the order in which they are started.
CONTROL_PLANE = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler")
NODE = ("containerd", "kubelet")
NAMES = (*CONTROL_PLANE, *NODE)
# Those that know the feature gates of Kubernetes.
GATED = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet")
# Each a user of the API server with a token of the same name; which groups it is in.
USERS = {
    "admin": ("admin", "system:masters"),
    "kube-controller-manager": ("system:kube-controller-manager", ""),
    "kube-scheduler": ("system:kube-scheduler", ""),
    "kubelet": (f"system:node:{NAME}", "system:nodes"),
}


def command(name: str, settings: Settings, extra: Mapping[str, str]) -> list[str]:
    """Give the command line of one component; ``extra`` are more flags, or other values for these."""
    flags = _FLAGS[name](settings) | dict(extra)
    gates = joined(settings.gates)
    if name in GATED and name != "kubelet" and gates:
        flags["feature-gates"] = gates
    return [str(settings.programs / name), *(f"--{flag}={value}" for flag, value in flags.items() if value)]


def _etcd(_: Settings) -> dict[str, str]:
    return {
        "data-dir": "/run/disk/etcd",
        # A disk that is memory has nothing to wait for.
        "unsafe-no-fsync": "true",
        "listen-client-urls": "http://127.0.0.1:2379",
        "advertise-client-urls": "http://127.0.0.1:2379",
        "listen-peer-urls": "http://127.0.0.1:2380",
        "log-level": "warn",
    }


def _apiserver(settings: Settings) -> dict[str, str]:
    return {
        "etcd-servers": "http://127.0.0.1:2379",
        "bind-address": "0.0.0.0",  # noqa: S104 # of a network of its own
        "secure-port": "443",
        "advertise-address": ADDRESS,
        "cert-dir": str(PKI),
        "token-auth-file": str(PKI / "tokens.csv"),
        "authorization-mode": "Node,RBAC",
        "enable-admission-plugins": "NodeRestriction",
        "service-cluster-ip-range": "10.96.0.0/16",
        "service-account-issuer": "https://kubernetes.default.svc",
        "service-account-key-file": str(PKI / "accounts.key"),
        "service-account-signing-key-file": str(PKI / "accounts.key"),
        "allow-privileged": "true",
        # `kubectl logs` and `exec` would ask DNS for the node's name otherwise.
        "kubelet-preferred-address-types": "InternalIP",
        "audit-policy-file": str(CONF / "audit-policy.json"),
        "audit-log-path": str(LOGS / AUDIT),
        "runtime-config": joined(settings.served),
    }


def _controller_manager(_: Settings) -> dict[str, str]:
    return {
        "kubeconfig": str(CONF / "kube-controller-manager.kubeconfig"),
        "use-service-account-credentials": "true",
        "service-account-private-key-file": str(PKI / "accounts.key"),
        "root-ca-file": str(PKI / "apiserver.crt"),
        "leader-elect": "false",
        "allocate-node-cidrs": "false",
        "bind-address": "127.0.0.1",
        "flex-volume-plugin-dir": FLEX_VOLUMES,
        # At 20 a second, the default, making an account for each of its controllers takes five seconds.
        "kube-api-qps": "100",
        "kube-api-burst": "200",
    }


def _scheduler(_: Settings) -> dict[str, str]:
    return {
        "kubeconfig": str(CONF / "kube-scheduler.kubeconfig"),
        "leader-elect": "false",
        "bind-address": "127.0.0.1",
    }


def _containerd(_: Settings) -> dict[str, str]:
    return {"config": str(CONF / "containerd.toml")}


def _kubelet(_: Settings) -> dict[str, str]:
    return {
        "config": str(CONF / "kubelet.json"),
        "kubeconfig": str(CONF / "kubelet.kubeconfig"),
        "node-ip": ADDRESS,
        "hostname-override": NAME,
        "v": "2",
    }


_FLAGS = {
    "etcd": _etcd,
    "kube-apiserver": _apiserver,
    "kube-controller-manager": _controller_manager,
    "kube-scheduler": _scheduler,
    "containerd": _containerd,
    "kubelet": _kubelet,
}


def files(settings: Settings) -> dict[Path, str]:
    """Give every configuration file inside the node, with its content."""
    return {
        PKI / "tokens.csv": "".join(
            f'{name}-token,{user},{name},"{group}"\n' for name, (user, group) in USERS.items()
        ),
        **{CONF / f"{name}.kubeconfig": json.dumps(kubeconfig(name)) for name in USERS},
        CONF / "audit-policy.json": json.dumps(AUDIT_POLICY),
        CONF / "containerd.toml": CONTAINERD_TOML,
        CONF / "cni" / "10-e2e.conflist": json.dumps(CNI_CONFIG),
        CONF / "resolv.conf": "",
        CONF / "kubelet.json": json.dumps(kubelet_configuration(settings)),
    }


def kubeconfig(user: str) -> dict[str, object]:
    """Give what a client of the API server needs."""
    server = {"server": f"https://{SERVICE}:443", "certificate-authority": str(PKI / "apiserver.crt")}
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "e2e", "cluster": server}],
        "users": [{"name": user, "user": {"token": f"{user}-token"}}],
        "contexts": [{"name": "e2e", "context": {"cluster": "e2e", "user": user}}],
        "current-context": "e2e",
    }


# Who did what; the heartbeats of nodes are left out.
AUDIT_POLICY = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [
        {"level": "None", "resources": [{"group": "coordination.k8s.io", "resources": ["leases"]}]},
        {"level": "Metadata"},
    ],
}

CNI_CONFIG = {
    "cniVersion": "1.0.0",
    "name": "e2e",
    "plugins": [
        {
            "type": "ptp",
            "ipMasq": False,
            "ipam": {
                "type": "host-local",
                "dataDir": "/run/cni-addresses",
                "ranges": [[{"subnet": PODS}]],
                "routes": [{"dst": "0.0.0.0/0"}],
            },
        }
    ],
}

# A machine without CAP_SYS_RESOURCE cannot lower oom_score_adj, hence restrict_oom_score_adj. A profile of AppArmor
# would be loaded into the kernel of the host and stay there.
CONTAINERD_TOML = f"""
version = 3
root = "/var/lib/containerd"
state = "/run/containerd/state"
disabled_plugins = [
  "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.snapshotter.v1.blockfile", "io.containerd.snapshotter.v1.erofs",
  "io.containerd.tracing.processor.v1.otlp", "io.containerd.internal.v1.tracing", "io.containerd.internal.v1.opt",
]
[grpc]
address = "{CONTAINERD_SOCKET}"
[plugins.'io.containerd.cri.v1.images']
snapshotter = "overlayfs"
[plugins.'io.containerd.cri.v1.images'.pinned_images]
sandbox = "{PAUSE_IMAGE}"
[plugins.'io.containerd.cri.v1.runtime']
enable_cdi = true
cdi_spec_dirs = ["/etc/cdi", "/var/run/cdi"]
restrict_oom_score_adj = true
disable_apparmor = true
[plugins.'io.containerd.cri.v1.runtime'.containerd]
default_runtime_name = "runc"
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
SystemdCgroup = false
[plugins.'io.containerd.cri.v1.runtime'.cni]
bin_dirs = ["{CNI_PLUGINS}"]
conf_dir = "{CONF}/cni"
"""


def kubelet_configuration(settings: Settings) -> dict[str, object]:
    """Give the kubelet's configuration: cgroup version 1 too, no iptables, quick status updates."""
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "containerRuntimeEndpoint": f"unix://{CONTAINERD_SOCKET}",
        "cgroupDriver": "cgroupfs",
        "failCgroupV1": False,
        "failSwapOn": False,
        "makeIPTablesUtilChains": False,
        "volumePluginDir": FLEX_VOLUMES,
        "resolvConf": str(CONF / "resolv.conf"),
        "address": ADDRESS,
        # Only processes of this network can reach it.
        "authentication": {"anonymous": {"enabled": True}, "webhook": {"enabled": False}},
        "authorization": {"mode": "AlwaysAllow"},
        "evictionHard": {"memory.available": "50Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
        "imageGCHighThresholdPercent": 100,
        "nodeStatusUpdateFrequency": "4s",
        "syncFrequency": "10s",
        "oomScoreAdj": 0,
        "maxPods": 200,
        "serializeImagePulls": False,
        "registerNode": True,
        "featureGates": dict(settings.gates),
    }
