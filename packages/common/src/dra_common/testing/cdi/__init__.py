"""What a container gets for its CDI ids, found out as a container runtime does it.

:func:`resolve` reads the specification folders by the rules of the CDI specification 1.1.0 and of its reference
library: files that do not validate are skipped, later folders win, a device in two files of one folder can be used from
neither. It is written apart from :mod:`dra_common.cdi` and shares no code with it, so that each checks the other.
"""

from dra_common.testing.cdi.registry import Unresolvable
from dra_common.testing.cdi.resolve import ResolvedEdits, resolve

__all__ = ["ResolvedEdits", "Unresolvable", "resolve"]
