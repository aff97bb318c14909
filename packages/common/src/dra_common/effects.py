"""The seam through which every change passes that this process makes outside of itself: files, hardware, API server.

Nobody listens in production, where a change costs a tenth of a microsecond more. A test sets an observer, which then
stands around every single change, and may end the process before or after it, or fail it with an errno:
``dra_common.testing.mortal``. A test of the sources refuses a change that is made beside the seam.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Literal, TypeAlias

Step: TypeAlias = Literal[
    "create",
    "write",
    "sync",
    "rename",
    "remove",
    "link",
    "folder",
    "mode",
    "bind",
    "hardware",
    "POST",
    "PUT",
    "PATCH",
    "DELETE",
]
"""What is changed: a file or its name, mode or content; a folder, a socket, a kernel attribute, an API object."""

Target: TypeAlias = "str | os.PathLike[str]"
"""A path, or a path of the API server."""

Observer: TypeAlias = Callable[[Step, Target], AbstractContextManager[object]]
"""Called before a change; what it returns is entered before it and left after it, whether it succeeded or not.

What entering raises, an OSError, comes in place of the change.
"""

_UNOBSERVED: AbstractContextManager[object] = nullcontext()
_observer: Observer | None = None


def effect(step: Step, target: Target) -> AbstractContextManager[object]:
    """Return the context manager to make one change in: one system call, or one request to the API server."""
    return _UNOBSERVED if _observer is None else _observer(step, target)


def observe(observer: Observer | None) -> None:
    """Put ``observer`` around every change from now on, in all threads; None: nobody. For tests."""
    global _observer  # noqa: PLW0603 - the one hook point, which production never sets
    _observer = observer
