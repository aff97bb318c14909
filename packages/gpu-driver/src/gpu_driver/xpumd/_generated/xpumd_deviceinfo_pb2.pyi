from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Severity(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    UNKNOWN: _ClassVar[Severity]
    OK: _ClassVar[Severity]
    WARNING: _ClassVar[Severity]
    CRITICAL: _ClassVar[Severity]
    FAILED: _ClassVar[Severity]
UNKNOWN: Severity
OK: Severity
WARNING: Severity
CRITICAL: Severity
FAILED: Severity

class WatchDeviceHealthRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class DeviceHealthResponse(_message.Message):
    __slots__ = ("devices",)
    DEVICES_FIELD_NUMBER: _ClassVar[int]
    devices: _containers.RepeatedCompositeFieldContainer[DeviceHealth]
    def __init__(self, devices: _Optional[_Iterable[_Union[DeviceHealth, _Mapping]]] = ...) -> None: ...

class DeviceHealth(_message.Message):
    __slots__ = ("info", "health")
    INFO_FIELD_NUMBER: _ClassVar[int]
    HEALTH_FIELD_NUMBER: _ClassVar[int]
    info: DeviceInformation
    health: _containers.RepeatedCompositeFieldContainer[HealthStatus]
    def __init__(self, info: _Optional[_Union[DeviceInformation, _Mapping]] = ..., health: _Optional[_Iterable[_Union[HealthStatus, _Mapping]]] = ...) -> None: ...

class DeviceInformation(_message.Message):
    __slots__ = ("pci", "memory")
    PCI_FIELD_NUMBER: _ClassVar[int]
    MEMORY_FIELD_NUMBER: _ClassVar[int]
    pci: PciInfo
    memory: _containers.RepeatedCompositeFieldContainer[MemoryInfo]
    def __init__(self, pci: _Optional[_Union[PciInfo, _Mapping]] = ..., memory: _Optional[_Iterable[_Union[MemoryInfo, _Mapping]]] = ...) -> None: ...

class PciInfo(_message.Message):
    __slots__ = ("bdf",)
    BDF_FIELD_NUMBER: _ClassVar[int]
    bdf: str
    def __init__(self, bdf: _Optional[str] = ...) -> None: ...

class MemoryInfo(_message.Message):
    __slots__ = ("size",)
    SIZE_FIELD_NUMBER: _ClassVar[int]
    size: int
    def __init__(self, size: _Optional[int] = ...) -> None: ...

class HealthStatus(_message.Message):
    __slots__ = ("name", "severity", "reason", "message")
    NAME_FIELD_NUMBER: _ClassVar[int]
    SEVERITY_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    name: str
    severity: Severity
    reason: str
    message: str
    def __init__(self, name: _Optional[str] = ..., severity: _Optional[_Union[Severity, str]] = ..., reason: _Optional[str] = ..., message: _Optional[str] = ...) -> None: ...
