"""The composition root of ``run``: every adapter is chosen here, started in order and stopped in reverse.

.. code-block:: text

    start: the kubelet's folders -> state folders -> probes, metrics, Events -> no other driver of this name -> recovery
           -> its claims adopted -> sources of health -> first look at the machine -> sockets -> publish.lock
    stop:  publish.lock, for the next instance -> sockets (calls in flight finish) -> reconciler; ResourceSlices stay

Only while ``publish.lock`` is ours the publisher and garbage collection run; calls of the kubelet are answered without
it, too.
"""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import Any

from dra_common.adoption import Adoption
from dra_common.claimstatus import Facts, TellingClaims, Writer
from dra_common.cluster import ClusterClaims, connect, node_uid, server_version
from dra_common.cordons import CordonTaints, FileCordons
from dra_common.definition import Definition
from dra_common.diagnosis import FIRST_WORD_SECONDS, Diagnosis
from dra_common.engine import Engine
from dra_common.events import Events
from dra_common.garbage import Collector
from dra_common.hosts import await_power, open_host, open_uevents
from dra_common.inventory import Inventory
from dra_common.kubelet import HealthServer, KubeletPlugin, find_rival
from dra_common.kubelet.folders import make_plugin_dir, require_registry
from dra_common.lifecycle import Lifecycle
from dra_common.modes import Modes
from dra_common.monitoring import (
    ClaimPhases,
    devices_by_health,
    open_endpoint,
    open_metrics,
    unhealthy_devices,
)
from dra_common.ports import ApiServer, ClaimReader, ClaimService, Doorbell
from dra_common.predecessor import PreparedClaims
from dra_common.publisher import Drops, Probe, Publisher, PublisherInTurn
from dra_common.readiness import Readiness
from dra_common.reconciler import Reconciler, Timing
from dra_common.recovery import Recovery
from dra_common.reload import Configuration
from dra_common.settings import Settings
from dra_common.slicer import Slicer
from dra_common.stores import cordons_folder, data_folder, open_locks, open_state, turn_file
from dra_common.taintrules import OldTaintRules
from dra_common.taints import busy_taints, claim_taints
from dra_common.takeover import Pause, adopt_claims, wait_for_rivals
from dra_common.telemetry import (
    CLAIMS,
    CLAIMS_IN_FLIGHT,
    CONFIG_CURRENT,
    DEVICE_UNHEALTHY,
    DEVICES,
    DEVICES_HELD,
    HEALTH_SOURCES,
    SILENT,
    SLICES_SYNCED,
    Row,
    Samples,
    Telemetry,
    Together,
)
from dra_common.turn import Turn

_log = logging.getLogger(__name__)

_GRACE = 10.0
"""Seconds that calls in flight have to finish when the process is asked to stop."""


_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)


def run(definition: Definition, settings: Settings, version: str) -> None:
    """Serve the kubelet until SIGTERM, SIGINT, SIGHUP or SIGQUIT. Raises DraError if it cannot start."""
    # Blocked here and in every thread to come, and fetched below: a handler could interrupt this thread anywhere.
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    _log.info("%s %s on node %s", definition.driver.name, version, settings.node_name)
    with ExitStack() as stack:
        try:
            App(definition, settings, version).start(stack, _pause)
            number = signal.sigwait(_SIGNALS)
        except _Asked as asked:
            number = asked.signal
        _log.info("%s: calls in flight may finish, ResourceSlices stay", signal.Signals(number).name)


class _Asked(Exception):
    """A signal asks to stop before everything was started."""

    def __init__(self, number: signal.Signals) -> None:
        super().__init__()
        self.signal = number


def _pause(seconds: float) -> None:
    """Wait; a signal ends it and the start with it."""
    if (caught := signal.sigtimedwait(_SIGNALS, seconds)) is not None:
        raise _Asked(signal.Signals(caught.si_signo))


class App:
    """Everything of one driver on one node, wired."""

    def __init__(
        self, definition: Definition, settings: Settings, version: str = "of unknown version"
    ) -> None:
        self._driver, self._settings = definition.driver, settings
        self._removes_old_rules = definition.remove_old_taint_rules
        self._configuration = Configuration(
            definition.driver, settings.config, settings.flags, settings.node_name
        )
        self._data = data_folder(settings, definition.driver)
        self._host = open_host(settings.host)
        await_power(settings.host)
        # None: nobody asks for numbers, and their library is not loaded.
        self._metrics = open_metrics(definition.driver.name, version) if settings.http_endpoint else None
        counts = self._metrics or SILENT
        self._api = connect(str(settings.kubeconfig) if settings.kubeconfig else None, counts=counts)
        self._events = Events(self._api, definition.driver.name, settings.node_name, counts=counts)
        self._telemetry: Telemetry = Together(counts, self._events)
        # Before anything is written: a wrong path must not fill up with state that nobody ever finds.
        require_registry(settings.kubelet_registry_dir)
        make_plugin_dir(self._data)
        self._state = open_state(settings, definition.driver)
        self._locks = open_locks(settings, definition.driver)
        self._readiness = Readiness()
        watched = settings.health.on
        self._health = Diagnosis(definition, settings, self._host, self._telemetry) if watched else None
        diagnose = self._health.monitor.diagnose if self._health else None
        self._inventory = Inventory(definition.driver.name, diagnose)
        who = f"{definition.program} {version}" + (f", pod {settings.pod_uid}" if settings.pod_uid else "")
        self._turn = Turn(turn_file(self._data), who=who, telemetry=self._telemetry)

    def start(self, stack: ExitStack, pause: Pause = time.sleep) -> None:
        """Start everything; ``stack`` stops it again, also what was started before a failure. Raises DraError.

        ``pause`` waits some seconds while another driver is in the way; what it raises ends the start.
        """
        stack.callback(self._api.close)
        health = HealthServer(self._settings.healthcheck_port, self._readiness)
        health.start()
        stack.callback(health.stop)
        self._tell(stack)
        slicer = self._publishing(self._api)
        reconciler = self._reconciler(slicer)
        self._turn.when_asked(lambda: reconciler.ring("another process asks to look"))
        wait_for_rivals(
            partial(find_rival, self._driver.name, self._data, self._settings.kubelet_registry_dir),
            self._readiness,
            pause,
        )
        lifecycle = self._recover(reconciler, pause)
        self._watch_health(slicer, stack)
        self._look_for_old_rules(stack)
        reconciler.start()
        self._readiness.add_check(reconciler.why_dead)
        stack.callback(slicer.stop)
        stack.callback(reconciler.stop)
        stack.callback(self._configuration.stop)
        self._configuration.start(self._telemetry, reconciler.ring)
        self._readiness.add_check(self._configuration.why_dead)
        claims = ClusterClaims(self._api)
        self._serve(lifecycle, claims, stack)
        collector = Collector(
            lifecycle,
            self._state,
            self._locks,
            claims,
            period=self._settings.gc_seconds,
            telemetry=self._telemetry,
        )
        self._turn.add(collector)
        # Stopped first: the next instance publishes while calls in flight finish here.
        stack.callback(self._turn.stop)
        self._turn.start()
        slicer.start()

    def _tell(self, stack: ExitStack) -> None:
        """Write Events and serve metrics from the start on, so that they tell of a start that hangs, too."""
        self._events.start()
        stack.callback(self._events.stop)
        if self._metrics is not None:
            endpoint = open_endpoint(self._settings.http_endpoint, self._metrics, self._readiness)
            endpoint.start()
            stack.callback(endpoint.stop)
        name, inventory, state = self._driver.name, self._inventory, self._state
        self._show(DEVICES, lambda: devices_by_health(inventory.snapshot, name))
        self._show(CONFIG_CURRENT, self._configuration.current)
        self._show(DEVICES_HELD, lambda: {(): len({device for device, _ in state.holds.holders()})})
        self._show(CLAIMS, ClaimPhases(state.records).count)

    def _show(self, gauge: Row, read: Callable[[], Samples]) -> None:
        if self._metrics is not None:
            self._metrics.gauge(gauge, read)

    def _publishing(self, api: ApiServer) -> Slicer:
        node = self._settings.node_name
        driver = self._driver.name
        drops = Drops(node, self._telemetry)

        def make() -> Publisher:
            return Publisher(
                api,
                driver=driver,
                node=node,
                node_uid=partial(node_uid, api, node),
                drops=drops,
                on_dropped=lambda dropped: slicer.without(dropped.features),
                on_back=slicer.look_again,
                telemetry=self._telemetry,
            )

        publisher = PublisherInTurn(make)
        self._turn.add(publisher)
        self._readiness.add_check(publisher.why_dead)
        self._show(SLICES_SYNCED, lambda: {(): publisher.status().synced} if self._turn.held else {})
        slicer = Slicer(
            driver,
            publish=publisher.publish,
            version=partial(server_version, api),
            probe=Probe(api, driver=driver, node=node, drops=drops),
            off=self._settings.server_features_off,
            telemetry=self._telemetry,
        )
        return slicer

    def _reconciler(self, slicer: Slicer) -> Reconciler:
        return Reconciler(
            self._driver,
            self._host,
            self._inventory,
            publish=slicer.take,
            held=self._state.holds.holders,
            taints=(
                partial(claim_taints, self._driver, self._state.records, self._host.boot_id()),
                partial(busy_taints, self._driver, self._locks),
                CordonTaints(FileCordons(cordons_folder(self._data)), self._driver.name),
            ),
            modes=Modes(self._state.parents, self._state.records, self._host.boot_id()).seen,
            seen=self._health.seen if self._health else lambda _: None,
            heard=self._health.heard if self._health else lambda _: None,
            uevents=open_uevents(self._settings.host, self._driver.uevent_subsystems),
            timing=Timing(rescan=self._settings.rescan_seconds),
        )

    def _watch_health(self, slicer: Slicer, stack: ExitStack) -> None:
        """Hear what the sources say before devices are published for the first time, and from then on."""
        if self._health is None:
            return
        monitor = self._health.monitor
        stack.callback(monitor.stop)
        monitor.watch(FIRST_WORD_SECONDS)
        monitor.start(lambda: self._publish_health(slicer))
        self._readiness.add_check(monitor.why_dead)
        self._show(HEALTH_SOURCES, monitor.connected)
        self._show(DEVICE_UNHEALTHY, lambda: unhealthy_devices(monitor.board.healths))

    def _look_for_old_rules(self, stack: ExitStack) -> None:
        if self._removes_old_rules is None:
            return
        rules = OldTaintRules(
            self._api,
            self._driver.name,
            self._settings.node_name,
            remove=self._removes_old_rules,
            tells=self._telemetry,
        )
        stack.callback(rules.stop)
        rules.start()

    def _publish_health(self, slicer: Slicer) -> None:
        snapshot = self._inventory.refresh()
        if snapshot is not None:
            slicer.take(snapshot)

    def _recover(self, doorbell: Doorbell, pause: Pause) -> Lifecycle[Any]:
        lifecycle = Lifecycle(
            self._driver, self._host, self._state, doorbell, self._host.boot_id(), telemetry=self._telemetry
        )
        Recovery(lifecycle, self._state, self._locks, telemetry=self._telemetry).run()
        adoption = Adoption(
            self._driver,
            self._host,
            lifecycle,
            self._state,
            self._locks,
            PreparedClaims(self._data),
            self._settings.node_name,
            self._telemetry,
        )
        adopt_claims(adoption, self._readiness, pause)
        self._readiness.met("recovered")
        return lifecycle

    def _telling(self, engine: ClaimService, lifecycle: Lifecycle[Any], stack: ExitStack) -> TellingClaims:
        writer = Writer(
            self._api,
            driver=self._driver.name,
            node=self._settings.node_name,
            facts=Facts(lifecycle, self._state.records, self._driver.cdi_vendor).of,
            counts=self._telemetry,
        )
        stack.callback(writer.stop)
        writer.start()
        return TellingClaims(engine, tell=writer.tell, forget=writer.forget, where=self._settings.node_name)

    def _serve(self, lifecycle: Lifecycle[Any], claims: ClaimReader, stack: ExitStack) -> None:
        engine: ClaimService = Engine(self._driver, lifecycle, claims, self._locks, self._settings.node_name)
        if self._settings.claim_status:
            engine = self._telling(engine, lifecycle, stack)
        plugin = KubeletPlugin(
            driver_name=self._driver.name,
            plugin_dir=self._data,
            registry_dir=self._settings.kubelet_registry_dir,
            claims=engine,
            readiness=self._readiness,
            pod_uid=self._settings.pod_uid,
            counts=self._telemetry,
            health=self._health.monitor.board if self._health else None,
            pool=self._settings.node_name,
        )
        self._show(CLAIMS_IN_FLIGHT, plugin.in_flight)
        stack.callback(plugin.stop, _GRACE)
        plugin.start()
