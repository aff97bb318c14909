"""The command line of the made-up driver: the demo needs its ``simulate``."""

from __future__ import annotations

import sys
from pathlib import Path

from dra_common.cli import main
from dra_common.definition import Definition
from dra_common.simulate import Simulation
from dra_common.testing.knobs import KnobDriver

PROFILES = {"bare": Path(__file__).with_name("bare.yaml")}

if __name__ == "__main__":
    title = "Turns knobs."
    sys.exit(main(Definition("knob-driver", "dra-common", title, KnobDriver(), lambda: Simulation(PROFILES))))
