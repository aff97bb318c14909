"""What no driver can be quicker than: the GET, the empty call, the durable write."""

from collections.abc import Iterator, Sequence

from dra_common.files import write_durably
from dra_common.model import ClaimRef
from dra_common.testing.benchmark.figures import Figure, timed

from bench.rows import latencies
from bench.world import World

CALLS = 200
GETS = 100
# As large as a record.
RECORD = b"x" * 1000
_GETS = f"""
import sys, time
from dra_common.cluster import connect
client = connect()
client.get(sys.argv[1])
for _ in range({GETS}):
    began = time.perf_counter()
    client.get(sys.argv[1])
    print(time.perf_counter() - began)
"""


def measure(here: World) -> Iterator[Figure]:
    """Measure each of them once."""
    with here.claims(1) as claims, here.caller() as caller:
        yield from latencies("GET of a claim", "the driver's client, in its container", gets(here, claims[0]))
        caller.prepare([])
        calls = [timed(lambda: caller.prepare([])) for _ in range(CALLS)]
        yield from latencies("empty call", "gRPC alone", calls)
    path = here.disk / "floor"
    writes = [timed(lambda: write_durably(path, RECORD)) for _ in range(CALLS)]
    path.unlink()
    yield from latencies("durable write", "on the disk of the records", writes)


def gets(here: World, ref: ClaimRef) -> Sequence[float]:
    """Return the seconds of each GET of a claim, by the driver's client in a process of its own in its container."""
    path = f"/apis/resource.k8s.io/v1/namespaces/{ref.namespace}/resourceclaims/{ref.name}"
    return [float(line) for line in here.driver.execute("python3", "-c", _GETS, path).split()]
