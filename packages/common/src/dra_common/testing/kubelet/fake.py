"""The fake kubelet as its user sees it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from dra_common.model import ClaimRef
from dra_common.testing.kubelet.answers import ClaimAnswer, Registered
from dra_common.testing.kubelet.health import HealthRules, SeenHealth
from dra_common.testing.kubelet.registrar import Registrar
from dra_common.testing.kubelet.wiping import Wiper, WipeSlices

T = TypeVar("T")


class FakeKubelet:
    """Registers every driver whose socket appears in the registry, and calls it; see the package for an example.

    Args:
        registry_dir: ``plugins_registry``; has to exist.
        wipe: deletes ResourceSlices, see :func:`~dra_common.testing.kubelet.wiping.api_wiper`; None: nothing is wiped.
        wiping_delay: seconds after which the slices of a driver out of reach are wiped.
        call_timeout: seconds that prepare and unprepare may take.
        retry_delay: seconds until a failed registration is tried again, doubled after every failure.
        versions: services that this kubelet knows.
        poll: seconds between looks at the registry.
        health: how it deals with the health of devices.
    """

    def __init__(  # noqa: PLR0913 - what kubelets differ in
        self,
        registry_dir: Path,
        *,
        wipe: WipeSlices | None = None,
        wiping_delay: float = 30.0,
        call_timeout: float = 45.0,
        retry_delay: float = 0.5,
        versions: Sequence[str] = ("v1.DRAPlugin",),
        poll: float = 0.02,
        health: HealthRules | None = None,
    ) -> None:
        self._rules = health or HealthRules()
        self._registry = registry_dir
        self._wiper = Wiper(wipe or (lambda _driver: None), wiping_delay)
        self._call_timeout = call_timeout
        self._retry_delay = retry_delay
        self._versions = tuple(versions)
        self._poll = poll
        self._changed = threading.Condition()
        self._registrar = self._new_life()
        self._earlier = 0
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    # ------------------------------------------------------------------ life

    def start(self) -> None:
        """Wipe all ResourceSlices of the node, then register whoever is in the registry."""
        self._earlier += self._registrar.registrations
        self._registrar = self._new_life()
        self._stopping.clear()
        self._wiper.kubelet_started()
        self._thread = threading.Thread(target=self._run, name="fake-kubelet", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Go away without a word to the drivers; calls in flight end as cancelled. Again: nothing."""
        self._stopping.set()
        if self._thread:
            self._thread.join()
            self._thread = None
        self._registrar.close()

    def restart(self) -> None:
        """Stop and start: registrations and connections are made anew, ResourceSlices wiped."""
        self.stop()
        self.start()

    # ------------------------------------------------------------------ what is known

    @property
    def registered(self) -> tuple[Registered, ...]:
        """Driver instances, the oldest registration first."""
        return self._registrar.registered

    @property
    def registrations(self) -> int:
        """How many registrations have succeeded, of whichever instance, over all lives of this kubelet."""
        return self._earlier + self._registrar.registrations

    @property
    def refusals(self) -> tuple[str, ...]:
        """Why registrations failed, since the last start."""
        return self._registrar.refusals

    def wait_registered(self, driver: str, timeout: float = 60.0) -> Registered:
        """Wait until the driver is registered and connected. Raises TimeoutError with the refusals so far."""

        def find() -> Registered | None:
            return next((each for each in self.registered if each.driver == driver and each.connected), None)

        return self._wait(find, timeout, f"{driver} to register")

    def wait_deregistered(self, driver: str, timeout: float = 60.0) -> None:
        """Wait until no instance of the driver is registered. Raises TimeoutError."""
        self._wait(
            lambda: not any(each.driver == driver for each in self.registered),
            timeout,
            f"{driver} to deregister",
        )

    def wait_disconnected(self, driver: str, timeout: float = 60.0) -> None:
        """Wait until there is no connection to the driver, registered or not. Raises TimeoutError."""
        self._wait(
            lambda: not any(each.driver == driver and each.connected for each in self.registered),
            timeout,
            f"{driver} to disconnect",
        )

    def health(self, driver: str, pool: str, device: str) -> SeenHealth:
        """Return what the status of a pod with this device says of its health."""
        return self._registrar.health.get(driver, pool, device)

    def health_responses(self, driver: str) -> int:
        """How often the driver has told of its devices' health, over all streams of this life."""
        return self._registrar.health.responses.get(driver, 0)

    # ------------------------------------------------------------------ calls

    def prepare(self, claims: Sequence[ClaimRef], driver: str | None = None) -> dict[str, ClaimAnswer]:
        """NodePrepareResources for the claims of one pod: UID -> answer, one for each UID.

        ``driver`` may be left out while only one is registered. Raises KubeletCallError.
        """
        return self._registrar.endpoint(driver).prepare(claims, self._call_timeout)

    def unprepare(self, claims: Sequence[ClaimRef], driver: str | None = None) -> dict[str, str]:
        """NodeUnprepareResources: UID -> error, empty on success. Raises KubeletCallError."""
        return self._registrar.endpoint(driver).unprepare(claims, self._call_timeout)

    # ------------------------------------------------------------------ inside

    def _new_life(self) -> Registrar:
        return Registrar(self._registry, self._versions, self._retry_delay, self._changed, self._rules)

    def _run(self) -> None:
        while not self._stopping.wait(self._poll):
            self._registrar.step()
            self._wiper.look(self._registrar.usable())

    def _wait(self, look: Callable[[], T | None], timeout: float, what: str) -> T:
        with self._changed:
            result = self._changed.wait_for(look, timeout)
        if not result:
            raise TimeoutError(f"waited {timeout:g} s for {what}; refusals: {list(self.refusals) or 'none'}")
        return result
