"""The cluster of a test run, and a namespace for each test; see docs/dev/e2e.md."""

import os
import re
from collections.abc import Generator, Iterator

import pytest
from harness.checks import check_machine
from harness.cluster import Cluster
from harness.driver import Driver
from harness.dump import dump
from harness.errors import HarnessError
from harness.namespace import Namespace
from harness.release import GAUDI, GPU, Product, build_image
from harness.settings import DEFAULT_MINOR, OUTPUT, Settings, switches
from harness.tools import Tools, tools

DUMPS = OUTPUT / "dumps"
Report = Generator[None, pytest.TestReport, pytest.TestReport]
CLUSTER = pytest.StashKey[Cluster]()


@pytest.fixture(scope="session")
def minor() -> str:
    """Give the version of Kubernetes, such as 1.37."""
    return os.environ.get("K8S") or DEFAULT_MINOR


@pytest.fixture(scope="session")
def built(minor: str) -> Tools:
    """Give the programs of the cluster."""
    try:
        check_machine()
        return tools(minor, print)
    except HarnessError as error:
        pytest.exit(f"e2e: {error}", returncode=1)


@pytest.fixture(scope="session")
def settings(built: Tools) -> Settings:
    """Give what the cluster of this run is like."""
    gates, served = (switches(os.environ.get(name, "")) for name in ("GATES", "SERVED"))
    return Settings(built.programs, built.images, OUTPUT / "logs", gates, served)


@pytest.fixture(scope="session")
def cluster(settings: Settings, request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """Make one cluster for the whole run. What a test stops in it, the test starts again."""
    for log in settings.logs.glob("*"):
        log.unlink()
    try:
        made = Cluster(settings)
    except HarnessError as error:
        pytest.exit(f"e2e: {error}", returncode=1)
    with made:
        request.config.stash[CLUSTER] = made
        yield made
        del request.config.stash[CLUSTER]


def load(cluster: Cluster, product: Product) -> str:
    """Build a driver's image and give it to the node; its name."""
    try:
        cluster.load_image(build_image(product))
    except HarnessError as error:
        pytest.exit(f"e2e: {error}", returncode=1)
    return product.image


@pytest.fixture(scope="session")
def driver_image(cluster: Cluster) -> str:
    """Build the GPU driver's image and give it to the node; its name."""
    return load(cluster, GPU)


@pytest.fixture(autouse=True)
def _restored(request: pytest.FixtureRequest) -> Iterator[None]:
    """Leave to the next test a cluster in which everything runs."""
    yield
    made = request.config.stash.get(CLUSTER, None)
    if made is not None and "cluster" in request.fixturenames:
        made.control.restore()


@pytest.fixture
def namespace(cluster: Cluster, request: pytest.FixtureRequest) -> Iterator[Namespace]:
    """Make a namespace for one test; it is deleted afterwards, and the next test begins when it is gone."""
    name = re.sub(r"[^a-z0-9]+", "-", request.node.name.lower())[:40].strip("-")
    made = Namespace(cluster, f"{name}-{os.urandom(3).hex()}")
    yield made
    # Whatever the test did not start again, because it failed: deleting needs all of it.
    cluster.control.restore()
    made.delete()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Report:
    """Say of a failed test what the cluster looked like, before anything is taken down."""
    report = yield
    cluster = item.config.stash.get(CLUSTER, None)
    if report.failed and cluster is not None and call.when != "teardown":
        folder = DUMPS / re.sub(r"\W+", "-", item.name).strip("-")
        report.sections.append(("cluster", dump(cluster, folder)))
    return report


@pytest.fixture(scope="session")
def installed(cluster: Cluster, driver_image: str) -> Iterator[Driver]:
    """Give the driver for the tests that do not install it themselves."""
    assert driver_image
    driver = Driver(cluster)
    yield driver
    driver.leave()


@pytest.fixture
def gpus(installed: Driver, request: pytest.FixtureRequest) -> Driver:
    """Give the driver, idle, on the machine that the mark ``machine`` names, or on two GPUs."""
    mark = request.node.get_closest_marker("machine")
    installed.move_to(mark.args[0] if mark else "two-gpus")
    installed.wait_idle()
    return installed


@pytest.fixture(scope="module")
def gaudi_driver(cluster: Cluster) -> Iterator[Driver]:
    """Give the Gaudi driver to one module of tests: those of others want to be alone on the node."""
    assert load(cluster, GAUDI)
    driver = Driver(cluster, GAUDI)
    yield driver
    driver.leave()


@pytest.fixture
def gaudis(gaudi_driver: Driver, request: pytest.FixtureRequest) -> Driver:
    """Give the Gaudi driver, idle, on the machine that the mark ``machine`` names, or on a server with eight."""
    mark = request.node.get_closest_marker("machine")
    gaudi_driver.move_to(mark.args[0] if mark else "gaudi2-hls")
    gaudi_driver.wait_idle()
    return gaudi_driver
