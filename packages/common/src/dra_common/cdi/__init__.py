"""CDI specifications as files: what a container runtime reads to give a container its devices.

Per-claim files are written by :class:`SpecDir` (the ``Specs`` port), ids of another driver's making by
:class:`SharedSpecDir`, the static file for users without Kubernetes by
:func:`write_static`. Source of all rules: Container Device Interface specification 1.1.0.
"""

from dra_common.cdi.encode import encode_spec, minimum_version
from dra_common.cdi.names import qualified_name
from dra_common.cdi.shared import SharedSpecDir
from dra_common.cdi.specdir import SpecDir
from dra_common.cdi.static import render_static, write_static

__all__ = [
    "SharedSpecDir",
    "SpecDir",
    "encode_spec",
    "minimum_version",
    "qualified_name",
    "render_static",
    "write_static",
]
