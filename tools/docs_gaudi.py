"""What stands on the Gaudi driver's pages."""

from __future__ import annotations

import docs_driver
from gaudi_driver.__main__ import DEFINITION
from gaudi_driver.config import KIND
from gaudi_driver.simulation import GaudiDetails
from gaudi_driver.vocabulary import ATTRIBUTES, CAPACITIES, TAINTS

GAUDI = docs_driver.Documented(
    name="gaudi",
    definition=DEFINITION,
    claim=KIND,
    attributes=ATTRIBUTES,
    capacities=CAPACITIES,
    taints=TAINTS,
    example="gaudi2-hls",
    tainted="gaudi-broken",
    details=GaudiDetails,
)
