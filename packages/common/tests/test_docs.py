"""The documentation is true: links lead somewhere, snippets run, and what is quoted is said by the code."""

from __future__ import annotations

import errno
import io
import logging
import os
import socket
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import pytest
from dra_common.cdi import SpecDir, write_static
from dra_common.cleanup import Cleanup
from dra_common.cli import create
from dra_common.cluster import ClusterClaims, connect, node_uid, server_version
from dra_common.definition import Definition
from dra_common.driver import Discovery
from dra_common.errors import DraError, HardwareBusy, HostError
from dra_common.events import Events
from dra_common.flock import try_lock
from dra_common.garbage import Collector
from dra_common.hotplug import subscribe
from dra_common.inventory import Inventory
from dra_common.kubelet import HealthServer, KubeletPlugin, find_rival
from dra_common.metrics import HttpEndpoint
from dra_common.model import (
    ClaimRecord,
    ClaimRef,
    ContainerEdits,
    Device,
    DeviceNode,
    Phase,
    Plan,
    Snapshot,
    Taint,
    TaintEffect,
)
from dra_common.pci import Binding, Bus
from dra_common.ports import ApiServer
from dra_common.publisher import Publisher
from dra_common.readiness import Readiness
from dra_common.reconciler import Reconciler
from dra_common.records import FileRecords
from dra_common.reload import Configuration
from dra_common.settings import HostSettings, Settings, parse_endpoint
from dra_common.simulate import Profile, SimulatedHost, Simulation, Simulator, write_tree
from dra_common.simulate.client import ControlClient
from dra_common.slicer import Slicer
from dra_common.slices import ServerFeatures, SliceContent, parse_features, to_slices
from dra_common.takeover import adopt_claims
from dra_common.telemetry import Reason
from dra_common.testing.apiserver import FakeApiServer
from dra_common.testing.bench import Bench, config, soon
from dra_common.testing.knobs import DRIVER as KNOBS
from dra_common.testing.knobs import KnobDriver
from dra_common.testing.kubelet import KubeletNode, MemoryClaims
from dra_common.testing.nic import PF
from dra_common.testing.waiting import wait_until
from goclaims import adoption, entry, leave
from pages import DOCS, PAGES, ROOT, Block, anchors, blocks, fits, handwritten, links, messages
from pci.simulated import SimulatedWorld as NicWorld
from pci.simulated import world as nic_world
from pci.world import PARENT

HERE = [block for page in PAGES for block in blocks(page, "python") if "gpu_driver" not in block.text]
DRIVER, NODE = "x.example.com", "node-1"
REF = ClaimRef("default", "c", "uid-c")


# --------------------------------------------------------------------------- pages


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_what_is_there(page: Path) -> None:
    broken = [
        f"{path}#{anchor}"
        for path, anchor in links(page)
        if not path.exists() or (anchor and anchor not in anchors(path))
    ]
    assert broken == []


def test_every_page_is_in_the_table_of_contents() -> None:
    listed = {path for path, _ in links(DOCS / "README.md")}
    assert set(DOCS.rglob("*.md")) - {DOCS / "README.md"} <= listed
    assert DOCS / "README.md" in {path for path, _ in links(ROOT / "README.md")}


def test_the_pages_are_short_lined_enough_to_review() -> None:
    long = [
        f"{page.relative_to(ROOT)}: {line[:60]}"
        for page in DOCS.rglob("*.md")
        for line in handwritten(page).splitlines()
        if len(line) > 185 and not line.startswith("|")
    ]
    assert long == []


def test_there_are_snippets_to_run() -> None:
    assert {block.page for block in HERE} >= {"docs/dev/testing.md", "docs/dev/new-driver.md"}


@pytest.mark.parametrize("block", HERE, ids=str)
def test_snippets_run(block: Block, short_tmp: Path) -> None:
    assert "assert" in block.text, "a snippet checks what it shows"
    exec(compile(block.text, str(block), "exec"), {"root": short_tmp})  # noqa: S102 - our own documentation


def test_the_documented_operations_are_those_of_the_control_socket(short_tmp: Path) -> None:
    page = (DOCS / "user/simulate.md").read_text()
    table = page.partition("<!-- generated: control-operations -->")[2].partition("<!-- end")[0]
    documented = [line.split("`")[1] for line in table.splitlines() if line.startswith("| `")][1:]
    with Simulator(Simulation(profiles={}), Profile(name="none"), short_tmp):
        answer = ControlClient(short_tmp).request("nonsense")
    assert answer["message"].endswith(f"op is one of {', '.join(documented)}")


# --------------------------------------------------------------------------- messages


@dataclass(frozen=True)
class Stage:
    """What the producers of messages work with."""

    root: Path
    log: pytest.LogCaptureFixture
    patch: pytest.MonkeyPatch

    def logged(self) -> str:
        """Return the last warning or error, waiting for the first one."""
        return wait_until(
            lambda: [r.getMessage() for r in self.log.records if r.levelno >= logging.WARNING], "a line"
        )[-1]


Producer = Callable[[Stage], object]
"""Raises a DraError that says the message, or returns what was logged or answered."""


def settings(stage: Stage) -> Settings:
    for folder in ("sys", "dev", "proc"):
        (stage.root / folder).mkdir(exist_ok=True)
    host = HostSettings(stage.root / "sys", stage.root / "dev", stage.root / "proc")
    return Settings(node_name=NODE, host=host)


def plugin(stage: Stage, plugins: str = "plugins", registry: str = "registry") -> KubeletPlugin:
    for folder in (plugins, "registry"):
        (stage.root / folder).mkdir(parents=True, exist_ok=True)
    return KubeletPlugin(
        driver_name=DRIVER,
        plugin_dir=stage.root / plugins / DRIVER,
        registry_dir=stage.root / registry,
        claims=MemoryClaims(),
        readiness=Readiness(),
    )


def occupied_socket(stage: Stage) -> None:
    made = plugin(stage)
    made.paths.dra.parent.mkdir()
    made.paths.dra.touch()
    made.start()


def taken_port(stage: Stage) -> str:
    with socket.create_server(("", 0)) as holder:
        HealthServer(holder.getsockname()[1], Readiness()).start()
    return stage.logged()


def taken_endpoint(stage: Stage) -> str:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        HttpEndpoint("127.0.0.1", holder.getsockname()[1], {}).start()
    return stage.logged()


def no_events(stage: Stage) -> str:
    stage.log.set_level(logging.INFO, "dra_common.events")
    with FakeApiServer() as api:
        api.faults.add(status=403, path="/events")
        client = connect(str(api.kubeconfig(stage.root / "kubeconfig")))
        events = Events(client, DRIVER, NODE)
        events.start()
        events.event(Reason.CLAIM_GONE, "gone")
        line = wait_until(lambda: stage.log.messages, "a line")[-1]
        events.stop()
        client.close()
    return line


def cleanup(stage: Stage) -> Cleanup:
    """One that is refused before it asks the API server."""
    for folder in ("plugins", "registry"):
        (stage.root / folder).mkdir()
    places = replace(
        settings(stage),
        kubelet_plugins_dir=stage.root / "plugins",
        kubelet_registry_dir=stage.root / "registry",
        cdi_dynamic_root=stage.root / "cdi",
    )
    return Cleanup(KnobDriver(), places, cast("ApiServer", None))


def cleanup_beside_a_driver(stage: Stage) -> None:
    refused = cleanup(stage)
    lock = stage.root / "plugins" / KNOBS / "publish.lock"
    lock.parent.mkdir()
    descriptor = try_lock(lock)
    lock.write_text("knob-driver 1.0\n")
    try:
        refused.run(print)
    finally:
        os.close(descriptor or 0)


def cleanup_too_early(stage: Stage) -> None:
    refused = cleanup(stage)
    (stage.root / "plugins" / KNOBS / "claims").mkdir(parents=True)
    for uid in ("u-1", "u-2"):
        (stage.root / "plugins" / KNOBS / "claims" / f"{uid}.json").write_text("{")
    refused.run(print)


def no_device_nodes(stage: Stage) -> None:
    def mknod(*_: object, **__: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    stage.patch.setattr(os, "mknod", mknod)
    write_tree(Simulation(profiles={}), Profile(name="none"), stage.root / "machine", device_nodes=True)


def bad_configuration(stage: Stage) -> Configuration:
    file = _written(
        stage.root / "c.yaml", "apiVersion: config.knob.example.com/v1\nkind: KnobDriverConfig\nx: y\n"
    )
    return Configuration(KnobDriver(), file, {}, NODE)


def bad_change(stage: Stage) -> str:
    file = _written(stage.root / "c.yaml", "apiVersion: config.knob.example.com/v1\nkind: KnobDriverConfig\n")
    configuration = Configuration(KnobDriver(), file, {}, NODE)
    file.write_text("bad")
    configuration.look()
    return stage.logged()


def rival_file(stage: Stage) -> None:
    (stage.root / "example.com-x.yaml").touch()
    node = ContainerEdits(device_nodes=(DeviceNode("/dev/x"),))
    write_static(stage.root, "example.com", "x", {"a": node})


def second_simulator(stage: Stage) -> None:
    def simulator() -> Simulator:
        return Simulator(Simulation(profiles={}), Profile(name="none"), stage.root)

    with simulator(), simulator():
        pass


def foreign_folder(stage: Stage) -> None:
    (stage.root / "thesis.txt").touch()
    with Simulator(Simulation(profiles={}), Profile(name="none"), stage.root):
        pass


@contextmanager
def server(**options: object) -> Iterator[FakeApiServer]:
    with FakeApiServer(**options) as made:  # type: ignore[arg-type]  # passed on
        made.create("Node", {"metadata": {"name": NODE}})
        yield made


def refused(stage: Stage) -> None:
    with server() as api:
        api.faults.add(status=403)
        client = connect(str(api.kubeconfig(stage.root / "kubeconfig")))
        ClusterClaims(client).read(REF, soon())


def away(stage: Stage) -> None:
    with server() as api:
        client = connect(str(api.kubeconfig(stage.root / "kubeconfig")))
    client.get("/version")


def unknown_node(stage: Stage) -> None:
    with server() as api:
        node_uid(connect(str(api.kubeconfig(stage.root / "kubeconfig"))), "node-2")


def no_version(stage: Stage) -> str:
    with server() as api:
        api.faults.add(status=503)
        client = connect(str(api.kubeconfig(stage.root / "kubeconfig")))
        slicer = Slicer(DRIVER, publish=lambda _: None, version=lambda: server_version(client))
        slicer.start()
        try:
            return stage.logged()
        finally:
            slicer.stop()


def withdrawn(_: Stage) -> str:
    device = Device("a", taints=(Taint(f"{DRIVER}/unbound", TaintEffect.NO_SCHEDULE),))
    made = to_slices(Snapshot(1, (device,)), driver=DRIVER, features=ServerFeatures.of((1, 34)))
    return str(made.withdrawn[0])


def dropped_fields(stage: Stage) -> str:
    taint = {"key": "x.example.com/t", "effect": "NoSchedule"}
    with server(feature_gates={"DRADeviceTaints": False}) as api:
        client = connect(str(api.kubeconfig(stage.root / "kubeconfig")))
        publisher = Publisher(client, driver=DRIVER, node=NODE, node_uid=lambda: node_uid(client, NODE))
        publisher.start()
        try:
            publisher.publish([SliceContent(devices=({"name": "a", "taints": [taint]},))])
            return stage.logged()
        finally:
            publisher.stop()
            client.close()


def lost_watch(stage: Stage) -> str:
    with server() as api:
        api.faults.add(status=403, method="WATCH")
        client = connect(str(api.kubeconfig(stage.root / "kubeconfig")))
        publisher = Publisher(client, driver=DRIVER, node=NODE, node_uid=lambda: node_uid(client, NODE))
        publisher.start()
        try:
            publisher.publish([SliceContent(devices=({"name": "a"},))])
            return stage.logged()
        finally:
            publisher.stop()
            client.close()


def bench(stage: Stage) -> Bench:
    return Bench(stage.root / "node")


def not_allocated(stage: Stage) -> None:
    made = bench(stage)
    ref = made.claim("c", "a")
    del made.claims.objects["default", "c"]["status"]
    made.engine.prepare(ref, soon())


def replaced(stage: Stage) -> None:
    made = bench(stage)
    made.engine.prepare(replace(made.claim("c", "a"), uid="older"), soon())


def allocated(*devices: str | dict[str, object], **more: object) -> Producer:
    def produce(stage: Stage) -> None:
        made = bench(stage)
        made.engine.prepare(made.claim("c", *devices, **more), soon())  # type: ignore[arg-type]  # passed on

    return produce


def held(stage: Stage) -> None:
    made = bench(stage)
    made.engine.prepare(made.claim("first", "a"), soon())
    made.engine.prepare(made.claim("second", "a"), soon())


def lost_part(stage: Stage) -> None:
    made = bench(stage)
    ref = made.claim("c", {"device": "a", "adminAccess": True})
    made.engine.prepare(ref, soon())
    stage.patch.setattr(KnobDriver, "edits", lambda *_: {})
    made.engine.prepare(ref, soon())


def locked(stage: Stage) -> None:
    made = bench(stage)
    with made.locks.claim(REF.uid, soon()):
        made.engine.unprepare(REF, soon(0.01))


def changed(stage: Stage, act: Callable[[Bus], object], seconds: float = 60.0) -> None:
    with nic_world(stage.root) as nic, nic.bus(seconds=seconds, patience=seconds) as bus:
        act(bus)


def blocked(stage: Stage, then: Callable[[NicWorld], object]) -> None:
    """Raise what is said of a blocked change, or of what is tried after it."""
    with nic_world(stage.root) as nic:
        with nic.bus() as bus:
            bus.rebind(PF, Binding("vfio-pci", "vfio-pci"))
        with nic.using(PF):
            try:
                with nic.brief() as bus:
                    bus.unbind(PF, "vfio-pci")
            except HardwareBusy:
                then(nic)
                raise


def defect(stage: Stage) -> str:
    def broken(*_: object) -> None:
        raise RuntimeError("a defect")

    with KubeletNode(stage.root, MemoryClaims(broken)) as node:
        node.start_plugin()
        kubelet = node.start_kubelet()
        kubelet.wait_registered(node.driver)
        return kubelet.prepare([REF])[REF.uid].error


def unreadable_machine(stage: Stage) -> str:
    def broken(*_: object) -> Discovery[object]:
        raise HostError("cannot list sys/knobs: gone")

    made = bench(stage)
    stage.patch.setattr(KnobDriver, "discover", broken)
    Reconciler(
        made.driver,
        made.host,
        Inventory(DRIVER),
        publish=lambda _: None,
        held=tuple,
    ).reconcile_once()
    return stage.logged()


def no_libudev(stage: Stage) -> None:
    stage.patch.setitem(sys.modules, "pyudev", None)
    subscribe(["pci"])


def record(root: Path) -> Path:
    FileRecords(root).save(ClaimRecord(REF, Phase.PREPARED, "boot", Plan()))
    return root / f"{REF.uid}.json"


def unwritable_record(stage: Stage) -> None:
    (stage.root / f"{REF.uid}.json.tmp").mkdir()
    record(stage.root)


def damaged_record(stage: Stage) -> str:
    made = bench(stage)
    ref = made.claim("c", "a")
    made.engine.prepare(ref, soon())
    made.records._path(ref.uid).write_text("{}")
    made.recover()
    return stage.logged()


def a_rival(stage: Stage) -> DraError | None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(stage.root / "dra.sock"))
        server.listen()
        return find_rival(DRIVER, stage.root, stage.root / "registry")


def adopted(stage: Stage, found: Mapping[str, object] | bytes) -> str:
    made = bench(stage)
    leave(made, found if isinstance(found, bytes) else {"uid-c": found})
    adoption(made).run()
    return stage.logged()


def adoption_in_need(stage: Stage) -> str:
    made = bench(stage)
    leave(made, {"uid-c": entry("a")})
    made.driver.broken = {"discover:a"}
    with suppress(TimeoutError):
        adopt_claims(adoption(made), Readiness(), _impatient)
    return stage.logged()


def _impatient(_: float) -> None:
    raise TimeoutError


def newer_record(stage: Stage) -> None:
    path = record(stage.root)
    path.write_text(path.read_text().replace('"schema": 1', '"schema": 2'))
    FileRecords(stage.root).load(REF.uid)


def no_cdi_folder(stage: Stage) -> None:
    (stage.root / "file").touch()
    edits = ContainerEdits(device_nodes=(DeviceNode("/dev/x"),))
    SpecDir(stage.root / "file/cdi", "example.com", ["x"]).write("uid", {"x": {"a": edits}})


def unknown_kind(*_: object) -> dict[str, object]:
    entry = config(1)
    entry["opaque"]["parameters"]["kind"] = "Nonsense"
    return entry


def gone_claim(stage: Stage) -> str:
    made = bench(stage)
    ref = made.claim("c", "a")
    made.engine.prepare(ref, soon())
    made.claims.objects.clear()
    Collector(made.lifecycle, made.state, made.locks, made.claims).collect()
    return stage.logged()


def release(stage: Stage, uid: str, *arguments: str) -> str:
    """Say what ``claims release`` says on a bench's files."""
    made, root = bench(stage), stage.root / "node"
    made.records.save(ClaimRecord(REF, Phase.PREPARED, "boot", Plan()))
    (root / "plugins").mkdir()
    (root / "plugins" / made.driver.name).symlink_to(root / "state")
    (root / "proc/sys/kernel/random/boot_id").write_text("9d8a2b1e-0000-4000-8000-000000000001")
    cli = create(Definition("knob-driver", "dra-common", "", made.driver, lambda: Simulation(profiles={})))
    places = [f"--{name}fs-root={root / name}" for name in ("sys", "dev", "proc")]
    places += [f"--kubelet-plugins-dir={root / 'plugins'}", f"--cdi-dynamic-root={root / 'cdi'}"]
    return str(cli(["claims", "release", uid, *arguments, *places], standalone_mode=False))


def changed_meanwhile(stage: Stage) -> str:
    def confirm(**_: bool) -> None:
        (stage.root / f"node/state/claims/{REF.uid}.json").write_text("{}")

    stage.patch.setattr("dra_common.cli.claims_release._confirm", confirm)
    return release(stage, REF.uid)


def nobody_to_ask(stage: Stage) -> str:
    stage.patch.setattr("sys.stdin", io.StringIO())
    return release(stage, REF.uid)


PRODUCERS: Mapping[str, Producer] = {
    "--node-name (NODE_NAME) '<name>' is not a node name": lambda stage: replace(
        settings(stage), node_name="Not_A_Name"
    ).check(),
    "<setting>: <folder> is not a folder": lambda stage: HostSettings(simulated_root=stage.root).check(),
    "no API server: there is no --kubeconfig, and this is not a pod with a ServiceAccount: <why>": lambda _: (
        connect()
    ),
    "kubeconfig <file> cannot be used: <why>": lambda stage: connect(
        str(_written(stage.root / "kubeconfig", "[]"))
    ),
    "the kubelet's plugin registry <folder> does not exist": lambda stage: plugin(
        stage, registry="gone"
    ).start(),
    "the socket path <path> has <n> bytes, and unix sockets allow 107": lambda stage: plugin(
        stage, "p" * 100
    ).start(),
    "<path>, where the driver's socket belongs, is a regular file": occupied_socket,
    "no health service: cannot listen on TCP port <port>, probably in use; set another --healthcheck-port,"
    " or -1 for none": taken_port,
    "no metrics: cannot listen on <address>: <why>; set another --http-endpoint": taken_endpoint,
    "--http-endpoint (HTTP_ENDPOINT) '<text>' is not an address with a port": lambda _: parse_endpoint("x:1"),
    "configuration <file>: line <n>: <field>: <why>": bad_configuration,
    "configuration <file>: cannot be read: <why>": lambda stage: Configuration(
        KnobDriver(), stage.root / "gone", {}, NODE
    ),
    "the configuration was changed and is not used, what was in use before stays: <why>": bad_change,
    "<file> defines the same CDI kind: with both files a runtime could use the devices of neither": rival_file,
    "a simulator is running in <folder> (process <pid>)": second_simulator,
    "<folder> holds files that are not a simulated machine": foreign_folder,
    "cannot make device nodes in <folder>: <why>": no_device_nodes,
    "<driver> runs on this node: <who>": cleanup_beside_a_driver,
    "<n> claims on this node still have devices of <driver>: <claims>": cleanup_too_early,
    "<method> <path>: <status> <why>": refused,
    "<method> <path>: no connection: <why>": away,
    "node <name> is not known to the API server: <why>": unknown_node,
    "no Events are written until the next start: <why>": no_events,
    "nothing is published until the API server tells its version: <why>": no_version,
    "the watch of ResourceSlices is lost, it is tried again: <why>": lost_watch,
    "--server-features-off (SERVER_FEATURES_OFF) '<name>' is not a feature": lambda _: parse_features(
        "nonsense", "--server-features-off (SERVER_FEATURES_OFF)"
    ),
    "device <device> is not published: the server has no device taints (feature gate DRADeviceTaints) to say"
    " <taint>": withdrawn,
    "the API server does not store <fields> of the ResourceSlices of node <node> as they are sent"
    " (<why>)": dropped_fields,
    "claim <claim>: it is not allocated": not_allocated,
    "claim <claim>: it was replaced, the API server now has UID <uid>": replaced,
    "claim <claim>: device <device> is in pool <pool>, this node has pool <node> only": allocated(
        {"device": "a", "pool": "node-2"}
    ),
    "claim <claim>: device <device> is not on this node: <why>": allocated("nonsense"),
    "claim <claim>: device <device> is held by claim <other>": held,
    "claim <claim>: opaque configuration of the <source>: unknown opaque kind '<kind>' of apiVersion"
    " '<version>'": allocated("a", config=[unknown_kind()]),
    "claim <claim>: opaque configuration of the <source>: <kind> field <field>: unknown field": allocated(
        "a", config=[config(1, colour="red")]
    ),
    "claim <claim>: opaque configuration of the claim: <kind> field <field> may be set in the DeviceClass"
    " only": allocated("a", config=[config(1, unsafe=True)]),
    "claim <claim>: CDI id <id> cannot be made (again): the device has lost that part": lost_part,
    "claim <uid> is still locked by another call at the deadline of this one": locked,
    "<address>: <step>: <why> (<errno>)": lambda stage: changed(stage, lambda bus: bus.set_vfs(PF, 8)),
    "<address>: <step>: the kernel has not returned for <n> s, probably since something still uses"
    " the device": lambda stage: blocked(stage, lambda _: None),
    "<address>: <step>: not begun: <other>: the kernel has not returned for <n> s": lambda stage: blocked(
        stage, lambda nic: Bus(nic.host).__enter__().override(PF)
    ),
    "hardware <parent> is still locked: <step>: the kernel has not returned": lambda stage: blocked(
        stage, lambda nic: nic.locks.parents([PARENT], soon(0)).__enter__()
    ),
    "<address>: <state>: not so after <n> s, though the kernel accepted the change": lambda stage: changed(
        stage, lambda bus: bus.wait_group_node(PF), seconds=0.1
    ),
    "internal error (<class>) on claim <claim>, see the driver's log of request <n>": defect,
    "cannot <step> <path>: <why> (<errno>)": lambda stage: SimulatedHost(stage.root).sysfs.read("nonsense"),
    "cannot look at the machine, what was found before stays: <why>": unreadable_machine,
    "cannot <step>: no simulated kernel behind <socket>: <why>": lambda stage: ControlClient(
        stage.root
    ).request("status"),
    "cannot listen to kernel events: <why>": no_libudev,
    "cannot write <path>: <why>": unwritable_record,
    "CDI: cannot create the folder <folder>: <why>": no_cdi_folder,
    "claim record set aside as <file>: <why>": damaged_record,
    "another driver serves <name> on this node: its socket <path> answers": a_rival,
    "claims of another driver cannot be adopted yet, it is tried again: <why>": adoption_in_need,
    "claim not adopted: <why>": lambda stage: adopted(stage, entry("gone")),
    "no claim adopted, <file> set aside as <kept>: <why>": lambda stage: adopted(stage, b"{"),
    "adopted, but its containers cannot be started again now: <why>": lambda stage: adopted(
        stage, entry("a", ids=["example.com/knob=odd"])
    ),
    "record <file> has schema <n>, this release reads up to 1": newer_record,
    "claim <claim> is prepared here, and the API server has it no more: its containers may still"
    " run": gone_claim,
    "claim <uid>: this node has no record of it": lambda stage: release(stage, "never", "--yes"),
    "claim <uid> has changed since it was shown: nothing was done": changed_meanwhile,
    "nobody is there to be asked, and without an answer nothing is released": nobody_to_ask,
}


def _written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def said(produce: Producer, stage: Stage) -> str:
    try:
        return str(produce(stage))
    except DraError as error:
        return str(error)


def test_every_documented_message_has_a_producer_and_the_reverse() -> None:
    documented = {shape for shape, heading in messages().items() if heading not in ("GPUs", "Gaudis")}
    assert documented == set(PRODUCERS)


@pytest.mark.parametrize("shape", PRODUCERS)
def test_messages_are_said_as_documented(
    shape: str, short_tmp: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    text = said(PRODUCERS[shape], Stage(short_tmp, caplog, monkeypatch))
    assert fits(shape, text), text
