"""A whole simulated node: fake API server, simulated machine, fake kubelet, and the real driver as its own process.

.. code-block:: python

    with SimulatedNode(root, module="gpu_driver", driver="gpu.intel.com", profile="two-gpus") as node:
        node.start_driver()
        node.wait_published()
        claim = node.create_claim("one", {"devices": {"requests": [...]}})
        node.allocate(claim)
        answer = node.prepare(claim)
        node.resolve(answer.cdi_ids)

Everything is below ``root``; leaving the block ends all processes. For tests of drivers, and for the demo.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self, TypeVar

from dra_common.model import ClaimRef, PreparedDevice
from dra_common.testing.allocator import Allocation, Allocator, Unsatisfiable
from dra_common.testing.apiserver import FakeApiServer
from dra_common.testing.cdi import ResolvedEdits, resolve
from dra_common.testing.forks import Forker, Process
from dra_common.testing.kubelet import FakeKubelet, api_wiper
from dra_common.testing.process import resident_kib
from dra_common.testing.waiting import wait_until

T = TypeVar("T")

_START_SECONDS = 60.0
"""How long a process may take to start; generous, since test machines are busy."""


class PrepareFailed(Exception):
    """The driver answered a prepare with an error; ``str()`` is what the kubelet would put into the pod's events."""


class NoMachine(RuntimeError):
    """The simulated machine did not start; ``str()`` is what ``simulate`` said."""


class SimulatedNode:
    """One node of a cluster that consists of nothing else; use it as a context manager.

    Args:
        root: an empty folder with a short path: sockets are made below it.
        module: the driver's Python package, started as ``python -m <module>``.
        driver: the DRA driver's name.
        profile: the simulated machine's name.
        name: the Node object's name.
        classes: DeviceClasses to create; by default one that is named after the driver and selects its devices.
        api_version: the imitated Kubernetes.
        forker: what the node's processes come out of; None: each is started from nothing, which takes longer.
    """

    def __init__(  # noqa: PLR0913 - what a cluster of one node consists of
        self,
        root: Path,
        *,
        module: str,
        driver: str,
        profile: str,
        name: str = "node-1",
        classes: Sequence[Mapping[str, Any]] = (),
        api_version: str = "1.36",
        forker: Forker | None = None,
    ) -> None:
        self.root, self.module, self.driver, self.profile, self.name = root, module, driver, profile, name
        self.machine, self.cdi, self.static_cdi = root / "machine", root / "cdi", root / "etc-cdi"
        self.plugins, self.registry = root / "plugins", root / "plugins_registry"
        self.state = self.plugins / driver
        self.log = root / "driver.log"
        self.api = FakeApiServer(version=api_version)
        self.process: Process | None = None
        self._registrations = 0
        self._classes = tuple(classes) or (_class(driver),)
        self._stack = ExitStack()
        self._starting = threading.Lock()
        self._forker = forker
        self._children: list[Process] = []
        self.abandoned = False

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            for folder in (self.cdi, self.static_cdi, self.plugins, self.registry):
                folder.mkdir()
            stack.enter_context(self.api)
            self.api.create("Node", {"metadata": {"name": self.name}})
            for device_class in self._classes:
                self.api.create("DeviceClass", device_class)
            self.api.kubeconfig(self.root / "kubeconfig")
            self._start_machine(stack)
            stack.callback(self._end_driver)  # before its machine ends: it has no reason to complain
            wipe = api_wiper(self.api.url, self.name)
            self.kubelet = stack.enter_context(FakeKubelet(self.registry, wipe=wipe))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def abandon(self) -> None:
        """End all processes, now and for good, from any thread and without the order of leaving the block."""
        with self._starting:
            self.abandoned = True
            for child in self._children:
                child.kill()
                child.wait()

    # ------------------------------------------------------------------ the driver's process

    def command(self, *arguments: str) -> list[str]:
        """Return a command of the driver's command line on this machine."""
        return [sys.executable, "-m", self.module, *arguments]

    def ask(self, *arguments: str) -> str:
        """Run a command of the driver's command line; returns what it prints. Raises RuntimeError if it fails."""
        with self._starting:
            child = subprocess.Popen(  # noqa: S603
                self.command(*arguments),
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=self.environment(),
                process_group=0,
            )
            self._keep(child)
        out, err = child.communicate()
        if child.returncode:
            raise RuntimeError(
                f"{' '.join(arguments)} ended with exit code {child.returncode}: {err.decode()}"
            )
        return out.decode()

    def launch(
        self,
        arguments: Sequence[str],
        log: Path,
        *,
        mortal: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
    ) -> Process:
        """Start a command of the driver's command line; what it says is appended to ``log``.

        It has a process group of its own: Ctrl-C in a terminal is for us, who end the others in order.
        """
        with self._starting:
            given = {**self.environment(), **(environment or {})}
            if self._forker is None:
                child = self._from_nothing(arguments, log, mortal, given)
            else:
                child = self._forker.start(self.module, arguments, log, mortal=mortal, environment=given)
            self._keep(child)
        return child

    def run_arguments(self) -> list[str]:
        """Return the arguments of ``run`` for this node."""
        return [
            "run",
            f"--node-name={self.name}",
            f"--kubeconfig={self.root / 'kubeconfig'}",
            f"--kubelet-plugins-dir={self.plugins}",
            f"--kubelet-registry-dir={self.registry}",
            f"--cdi-root={self.static_cdi}",
            f"--cdi-dynamic-root={self.cdi}",
            f"--simulated-root={self.machine}",
            "--healthcheck-port=-1",
        ]

    def start_driver(self, *more: str, wait: bool = True, mortal: Sequence[str] = ()) -> None:
        """Start ``run``, with ``more`` arguments, and wait until the kubelet has registered it.

        ``mortal`` are arguments of :mod:`dra_common.testing.mortal`: where the driver dies, or its disk fails.
        """
        self._registrations = self.kubelet.registrations
        self.process = self.launch([*self.run_arguments(), *more], self.log, mortal=mortal)
        if wait:
            self.wait(self._registered, "the driver to register")

    def kill_driver(self) -> None:
        """SIGKILL: no chance to clean up."""
        process = self._running()
        process.kill()
        process.wait()
        self.kubelet.wait_disconnected(self.driver)

    def wait_dead(self) -> int:
        """Wait until the driver has ended by itself, and the kubelet has noticed; returns its exit code."""
        if self.process is None:
            msg = "the driver was never started"
            raise RuntimeError(msg)
        code = self.process.wait(_START_SECONDS)
        self.kubelet.wait_disconnected(self.driver)
        return code

    def signal_driver(self, number: signal.Signals) -> None:
        """Send any signal, for example SIGSTOP and SIGCONT."""
        self._running().send_signal(number)

    def stop_driver(self) -> int:
        """SIGTERM; returns the exit code once the kubelet has noticed, too."""
        process = self._running()
        process.send_signal(signal.SIGTERM)
        code = process.wait(_START_SECONDS)
        self.kubelet.wait_disconnected(self.driver)
        return code

    def resident_kib(self) -> Mapping[str, int]:
        """Return the driver's memory as the kernel counts it, in KiB: ``VmRSS``, ``RssAnon``, ``RssFile``."""
        return resident_kib(self._running().pid)

    # ------------------------------------------------------------------ the cluster's side

    def slices(self) -> list[dict[str, Any]]:
        """Return the ResourceSlices of the driver."""
        return [item for item in self.api.objects("ResourceSlice") if item["spec"]["driver"] == self.driver]

    def devices(self) -> list[dict[str, Any]]:
        """Return the published devices in the order in which the scheduler sees them."""
        ordered = sorted(self.slices(), key=lambda item: item["metadata"]["name"])
        return [device for item in ordered for device in item["spec"].get("devices", ())]

    def wait_published(self) -> list[dict[str, Any]]:
        """Wait until the pool is complete and return its devices."""
        self.wait(self._complete, "a complete pool of ResourceSlices")
        return self.devices()

    def create_claim(self, name: str, spec: Mapping[str, Any], *, namespace: str = "default") -> ClaimRef:
        """Create a ResourceClaim with this ``spec``."""
        made = self.api.create(
            "ResourceClaim", {"metadata": {"name": name, "namespace": namespace}, "spec": spec}
        )
        return ClaimRef(namespace, name, made["metadata"]["uid"])

    def allocate(self, ref: ClaimRef) -> Allocation | Unsatisfiable:
        """Allocate as the scheduler would; a success is stored in the claim's status."""
        claim = self.api.get("ResourceClaim", ref.name, ref.namespace) or {}
        classes, claims = self.api.objects("DeviceClass"), self.api.objects("ResourceClaim")
        outcome = Allocator(self.slices(), classes, node=self.name, allocated=claims).allocate(claim)
        if isinstance(outcome, Allocation):
            reserved = [{"resource": "pods", "name": f"{ref.name}-pod", "uid": ref.uid}]
            status = {"allocation": outcome.status_allocation, "reservedFor": reserved}
            self.api.put("ResourceClaim", {**claim, "status": status})
        return outcome

    def allocate_past_scheduler(self, ref: ClaimRef, *devices: str) -> None:
        """Give a claim's first request these devices, which no scheduler would have done."""
        claim = self.api.get("ResourceClaim", ref.name, ref.namespace) or {}
        request = claim["spec"]["devices"]["requests"][0]["name"]
        common = {"request": request, "driver": self.driver, "pool": self.name}
        results = [{**common, "device": device} for device in devices]
        self.api.put("ResourceClaim", {**claim, "status": {"allocation": {"devices": {"results": results}}}})

    def delete_claim(self, ref: ClaimRef) -> None:
        """Remove the claim from the API server."""
        self.api.delete("ResourceClaim", ref.name, ref.namespace)

    # ------------------------------------------------------------------ the kubelet's side

    def prepare(self, ref: ClaimRef) -> tuple[PreparedDevice, ...]:
        """NodePrepareResources for one claim. Raises PrepareFailed, KubeletCallError."""
        answer = self.kubelet.prepare([ref], self.driver)[ref.uid]
        if answer.error:
            raise PrepareFailed(answer.error)
        return answer.devices

    def unprepare(self, ref: ClaimRef) -> None:
        """NodeUnprepareResources for one claim. Raises PrepareFailed, KubeletCallError."""
        if error := self.kubelet.unprepare([ref], self.driver)[ref.uid]:
            raise PrepareFailed(error)

    def resolve(self, devices: Sequence[PreparedDevice]) -> ResolvedEdits:
        """Return what a container with all these devices gets, read from the CDI files as a runtime does."""
        ids = [name for device in devices for name in device.cdi_ids]
        return resolve(ids, [self.static_cdi, self.cdi])

    def refusal(self, ref: ClaimRef) -> str:
        """Return why the driver does not prepare this claim, ``""`` if it does. Raises KubeletCallError."""
        try:
            self.prepare(ref)
        except PrepareFailed as error:
            return str(error)
        return ""

    def leftovers_of(self, ref: ClaimRef) -> list[str]:
        """Return those of :meth:`leftovers` that are named after this claim."""
        return [name for name in self.leftovers() if ref.uid in name]

    def leftovers(self) -> list[str]:
        """Return every file of a claim that is still on the node: records, locks, holds, modes, CDI files.

        The lock files of hardware parents are no claim's: they stay for the next.
        """
        globs = ("claims/*", "held/*", "adopted/*", "hardware/*.json*", "dra-device-metadata/*")
        found = [path for pattern in globs for path in self.state.glob(pattern)]
        return sorted(str(path.relative_to(self.root)) for path in (*found, *self.cdi.glob("*")))

    # ------------------------------------------------------------------ inside

    def wait(self, condition: Callable[[], T], what: str) -> T:
        """Wait for a condition; a driver that died meanwhile ends the wait. Raises TimeoutError, RuntimeError."""

        def look() -> T:
            if self.process is not None and (code := self.process.poll()) is not None:
                msg = f"waiting for {what}, the driver ended with exit code {code}:\n{self.log_tail()}"
                raise RuntimeError(msg)
            return condition()

        return wait_until(look, what, seconds=_START_SECONDS)

    def log_tail(self, lines: int = 20) -> str:
        """Return the last lines that the driver logged."""
        return (
            "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:]) if self.log.exists() else ""
        )

    def _start_machine(self, stack: ExitStack) -> None:
        arguments = ("simulate", f"--profile={self.profile}", f"--root={self.machine}")
        machine = self.launch(arguments, self.root / "machine.log")
        stack.callback(machine.wait)
        stack.callback(machine.terminate)

        def runs() -> bool:
            if machine.poll() is not None:
                said = " ".join((self.root / "machine.log").read_text().split())
                raise NoMachine(f"the simulated machine did not start: {said}")
            return (self.machine / "control.sock").exists()

        wait_until(runs, "the simulated machine to start", seconds=_START_SECONDS)

    def _keep(self, child: Process) -> None:
        self._children.append(child)
        if self.abandoned:
            child.kill()
            child.wait()
            raise RuntimeError("this node is abandoned")

    def _from_nothing(
        self, arguments: Sequence[str], log: Path, mortal: Sequence[str], environment: Mapping[str, str]
    ) -> Process:
        command = self.command(*arguments)
        if mortal:
            command[2:3] = ["dra_common.testing.mortal", *mortal, "--", self.module]
        with log.open("ab") as output:
            return subprocess.Popen(  # noqa: S603
                command, stdout=output, stderr=output, env=environment, process_group=0
            )

    def _registered(self) -> bool:
        """Whether the process started last has registered; a connection to its socket may be of an earlier life."""
        return self.kubelet.registrations > self._registrations and any(
            each.driver == self.driver and each.connected for each in self.kubelet.registered
        )

    def _complete(self) -> bool:
        slices = self.slices()
        newest = max((item["spec"]["pool"]["generation"] for item in slices), default=0)
        pools = [item["spec"]["pool"] for item in slices]
        current = [pool for pool in pools if pool["generation"] == newest]
        return bool(current) and len(current) == current[0]["resourceSliceCount"]

    def _running(self) -> Process:
        if self.process is None or self.process.poll() is not None:
            msg = "the driver is not running"
            raise RuntimeError(msg)
        return self.process

    def _end_driver(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    @staticmethod
    def environment() -> dict[str, str]:
        """Return our environment without what would reach the driver as a setting."""
        settings = (
            "NODE_NAME",
            "KUBECONFIG",
            "SYSFS_ROOT",
            "DEVFS_ROOT",
            "CDI_ROOT",
            "SIMULATED_ROOT",
            "POD_UID",
            "V",
        )
        return {name: value for name, value in os.environ.items() if name not in settings}


def _class(driver: str) -> dict[str, Any]:
    selector = {"cel": {"expression": f'device.driver == "{driver}"'}}
    return {"metadata": {"name": driver}, "spec": {"selectors": [selector]}}
