"""The part of ``kubernetes`` that we use, without the rest of it.

Whatever is imported of that package, its ``__init__`` loads the dynamic client, websocket streams and informers, and
that of ``kubernetes.config`` the logins of kubeconfigs with OAuth and a second HTTP library, that of
``kubernetes.utils`` YAML: together 240 modules, 8 MiB that stay for ever and a third of the time of all imports. None
of it serves a pod with a ServiceAccount.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec, module_from_spec


def skip_init(*packages: str) -> None:
    """Make modules of ``packages`` importable without running the packages' own ``__init__``; parents come first.

    A package that is imported already stays as it is. Raises ModuleNotFoundError.
    """
    for name in packages:
        if name in sys.modules:
            continue
        spec = find_spec(name)
        if spec is None:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        sys.modules[name] = module_from_spec(spec)
