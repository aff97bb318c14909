"""Everything that can go wrong in the field, as one tree.

.. code-block:: text

    DraError                         message + cure; never shown as a traceback
    ├── SettingsError                a flag, variable or file says something that is not allowed
    ├── HostError                    a path below sysfs, devfs or procfs
    │   ├── HostNotFound             ENOENT, ENODEV, ENXIO while reading
    │   ├── HostWriteError           the kernel refused a write; carries its errno
    │   ├── HardwareRefused          the kernel refused a change of a PCI function; carries its errno
    │   ├── HardwareBusy             the kernel has not returned from a change
    │   └── HardwareNotReady         a change was made, and what must follow from it did not come
    ├── StateError                   a file of ours (record, hold, lock, CDI) cannot be read or written
    │   ├── CorruptRecord            a record that fails its checksum or does not decode
    │   ├── NewerRecord              a record of a newer release's schema: kept, never guessed at
    │   ├── CheckpointError          another driver's file of claims, of which nothing can be relied on
    │   └── SpecInvalid              names or edits that a CDI specification may not hold
    ├── LockTimeout                  another call or process kept a lock until our deadline
    ├── ClusterError                 the API server's answer, or none
    │   ├── Unauthorized             401
    │   ├── Forbidden                403
    │   ├── NotFound                 404
    │   ├── Conflict                 409
    │   ├── Gone                     410
    │   ├── Invalid                  422 and other 4xx
    │   ├── Throttled                429; carries retry_after
    │   ├── ServerError              5xx
    │   └── Unreachable              no connection, or no answer in time
    ├── KubeletError                 sockets and directories shared with the kubelet
    ├── SliceError                   a device or pool that no ResourceSlice may hold
    └── ClaimError                   why one claim cannot be prepared or unprepared
        ├── ClaimMismatch            other UID, or not allocated
        ├── ConfigError              opaque parameters that do not decode or are not allowed
        ├── DeviceUnknown            pool or device that this node does not have
        ├── DeviceHeld               another claim holds the device
        └── DeviceRefused            the device is there but not in a state to be given

Every class says *what* (device or object), at which *step*, *why*, and what the operator can do (*cure*).
"""

from __future__ import annotations


class DraError(Exception):
    """Base of all errors that are explained to a user.

    ``str(error)`` is one line: the message, then the cure in parentheses when there is one.
    """

    def __init__(self, message: str, *, cure: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.cure = cure

    def __str__(self) -> str:
        return f"{self.message} ({self.cure})" if self.cure else self.message


class SettingsError(DraError):
    """A flag, environment variable or settings file holds a value that is not allowed."""


class HostError(DraError):
    """Reading or writing below sysfs, devfs or procfs failed; ``errno`` is the kernel's, 0 if unknown."""

    def __init__(self, message: str, *, cure: str = "", errno: int = 0) -> None:
        super().__init__(message, cure=cure)
        self.errno = errno


class HostNotFound(HostError):
    """The path is not there (any more)."""


class HostWriteError(HostError):
    """The kernel refused a write."""


class HardwareRefused(HostError):
    """The kernel refused to bind, unbind or reset a PCI function or to make VFs."""


class HardwareBusy(HostError):
    """A change of a PCI function blocks in the kernel; it goes on there, and keeps its locks until it returns."""


class HardwareNotReady(HostError):
    """A change of a PCI function was accepted, but the state that it leads to did not come in time."""


BUSY_CURE = (
    "end the virtual machine or process that has the device open (/dev/vfio); it is tried again, and goes on once "
    "the kernel returns"
)
"""What to do about a change that blocks in the kernel."""


class StateError(DraError):
    """A file this driver keeps (record, hold, lock, CDI specification) cannot be read or written."""


class CorruptRecord(StateError):
    """A claim record that is truncated, fails its checksum or does not decode."""


class NewerRecord(StateError):
    """A claim record whose schema only a newer release knows; it and all that its claim has are left alone."""


class CheckpointError(StateError):
    """The file of claims of another driver is cut off, of an unknown format, or damaged."""


class SpecInvalid(StateError):
    """A CDI specification that would break a rule of CDI; names the file, the device and the field."""


class LockTimeout(DraError):
    """A lock was held by somebody else until the caller's deadline."""


class ClusterError(DraError):
    """The API server refused a request or did not answer; ``status`` is the HTTP code, 0 without an answer."""

    def __init__(self, message: str, *, cure: str = "", status: int = 0) -> None:
        super().__init__(message, cure=cure)
        self.status = status


class Unauthorized(ClusterError):
    """401: the token or certificate is not accepted."""


class Forbidden(ClusterError):
    """403: RBAC or an admission policy does not allow the request."""


class NotFound(ClusterError):
    """404: no such object, or the API group version is not served.

    ``definite``: the API server named the object that was asked for, so that it is this that is not there, and not the
    API, or something between us and the server.
    """

    def __init__(self, message: str, *, cure: str = "", status: int = 404, definite: bool = False) -> None:
        super().__init__(message, cure=cure, status=status)
        self.definite = definite


class Conflict(ClusterError):
    """409: the object exists already, or changed since it was read."""


class Gone(ClusterError):
    """410: the resourceVersion is too old; list again."""


class Invalid(ClusterError):
    """422, and other 4xx: the API server will not accept this object."""


class Throttled(ClusterError):
    """429: asked to wait; ``retry_after`` in seconds."""

    def __init__(self, message: str, *, cure: str = "", status: int = 429, retry_after: float = 1.0) -> None:
        super().__init__(message, cure=cure, status=status)
        self.retry_after = retry_after


class ServerError(ClusterError):
    """5xx."""


class Unreachable(ClusterError):
    """No connection, a broken one, or silence until the timeout."""


class KubeletError(DraError):
    """A socket or directory shared with the kubelet is missing, taken or unusable."""


class SliceError(DraError):
    """A device or pool that breaks a rule of the ResourceSlice API."""


class ClaimError(DraError):
    """Why one ResourceClaim cannot be prepared or unprepared. Other claims of the call are not affected."""


class ClaimMismatch(ClaimError):
    """The claim was replaced (other UID), is gone, or is not allocated."""


class ConfigError(ClaimError):
    """Opaque parameters that do not decode, or that this source may not set."""


class DeviceUnknown(ClaimError):
    """The allocation names a pool or device that this node does not have."""


class DeviceHeld(ClaimError):
    """Another claim holds the device."""


class DeviceRefused(ClaimError):
    """The device exists but cannot be given in its present state."""
