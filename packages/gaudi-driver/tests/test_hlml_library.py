"""The calls of the management library, on the fake in C and on the simulated one: both answer the same."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from gaudi_driver.hlml.library import CODES, CRITICAL, TIMEOUT, HlmlError, Library
from gaudi_driver.hlml.native import CtypesLibrary, open_library
from gaudi_driver.hlml.simulated import SimulatedLibrary
from gaudi_hlml import BDFS, GIB, HlmlFolder, compile_library

BDF = BDFS[0]


@pytest.fixture(params=["c", "python"])
def library(
    request: pytest.FixtureRequest, hlml: HlmlFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Library:
    if request.param == "python":
        return SimulatedLibrary(hlml.folder)
    monkeypatch.setenv("FAKE_HLML", str(hlml.folder))
    # A copy: the same file would be loaded once for all tests.
    return CtypesLibrary(str(shutil.copy(request.getfixturevalue("fake_hlml"), tmp_path)))


@pytest.fixture
def begun(library: Library) -> Library:
    library.init()
    return library


def test_a_device_is_found_by_number_and_by_address(begun: Library) -> None:
    assert begun.device_get_count() == len(BDFS)
    addresses = [begun.device_get_pci_info(begun.device_get_handle_by_index(index)) for index in range(3)]
    assert addresses == list(BDFS)
    for address in BDFS:
        handle = begun.device_get_handle_by_pci_bus_id(address)
        assert begun.device_get_pci_info(handle) == address
        assert begun.device_get_handle_by_index(BDFS.index(address)) == handle


def test_what_it_tells_of_a_device(begun: Library) -> None:
    handle = begun.device_get_handle_by_pci_bus_id(BDF)
    assert begun.device_get_serial(handle) == "AM50016130"
    assert begun.device_get_uuid(handle) == "01P0-HL2080A0-15-TF8A81-09-07-00"
    assert begun.device_get_module_id(handle) == 1
    assert begun.device_get_memory_info(handle) == 96 * GIB


def test_an_event_that_was_registered_comes_once(begun: Library, hlml: HlmlFolder) -> None:
    hlml.event(BDF, CRITICAL)
    events = begun.event_set_create()
    handle = begun.device_get_handle_by_pci_bus_id(BDF)
    begun.device_register_events(handle, CRITICAL, events)
    with pytest.raises(HlmlError) as early:
        begun.event_set_wait(events, 1)
    hlml.event(BDF, 4)
    hlml.event(BDF, 4 | CRITICAL)
    found = begun.event_set_wait(events, 60_000)
    with pytest.raises(HlmlError) as late:
        begun.event_set_wait(events, 1)
    assert (found.handle, found.mask) == (handle, 4 | CRITICAL)
    assert early.value.code == late.value.code == TIMEOUT
    begun.event_set_free(events)


def test_events_that_begin_anew_are_not_missed(begun: Library, hlml: HlmlFolder) -> None:
    for _ in range(3):
        hlml.event(BDF, 4)
    events = begun.event_set_create()
    begun.device_register_events(begun.device_get_handle_by_pci_bus_id(BDF), CRITICAL, events)
    (hlml.folder / "devices" / BDF / "events").unlink()
    hlml.event(BDF, CRITICAL)
    assert begun.event_set_wait(events, 60_000).mask == CRITICAL


def test_another_process_can_make_an_event(begun: Library, hlml: HlmlFolder) -> None:
    events = begun.event_set_create()
    begun.device_register_events(begun.device_get_handle_by_pci_bus_id(BDF), CRITICAL, events)
    path = hlml.folder / "devices" / BDF / "events"
    with subprocess.Popen([sys.executable, "-c", f"open({str(path)!r}, 'a').write('2\\n')"]):
        assert begun.event_set_wait(events, 60_000).mask == CRITICAL


CALLS: dict[str, Callable[[Library, int, int], object]] = {
    "shutdown": lambda library, _, __: library.shutdown(),
    "device_get_count": lambda library, _, __: library.device_get_count(),
    "device_get_handle_by_index": lambda library, _, __: library.device_get_handle_by_index(0),
    "device_get_handle_by_pci_bus_id": lambda library, _, __: library.device_get_handle_by_pci_bus_id(BDF),
    "device_get_pci_info": lambda library, device, _: library.device_get_pci_info(device),
    "device_get_serial": lambda library, device, _: library.device_get_serial(device),
    "device_get_uuid": lambda library, device, _: library.device_get_uuid(device),
    "device_get_module_id": lambda library, device, _: library.device_get_module_id(device),
    "device_get_memory_info": lambda library, device, _: library.device_get_memory_info(device),
    "event_set_create": lambda library, _, __: library.event_set_create(),
    "device_register_events": lambda library, device, set_: library.device_register_events(device, 2, set_),
    "event_set_wait": lambda library, _, set_: library.event_set_wait(set_, 1),
    "event_set_free": lambda library, _, set_: library.event_set_free(set_),
}
OF_A_DEVICE = [name for name in CALLS if name.startswith("device_") and name != "device_get_count"]


@pytest.mark.parametrize("function", CALLS)
def test_what_a_function_returns_is_an_error_with_its_name(
    begun: Library, hlml: HlmlFolder, function: str
) -> None:
    device, events = begun.device_get_handle_by_pci_bus_id(BDF), begun.event_set_create()
    for code, meaning in {**CODES, 77: "a number without a known meaning"}.items():
        hlml.fail(function, code)
        with pytest.raises(HlmlError) as caught:
            CALLS[function](begun, device, events)
        assert caught.value.code == code
        assert caught.value.message.startswith(f"hlml_{function} ")
        assert caught.value.message.endswith(f" returned {code}: {meaning}")
        assert caught.value.cure


@pytest.mark.parametrize("function", OF_A_DEVICE)
def test_a_function_may_fail_for_one_device_alone(begun: Library, hlml: HlmlFolder, function: str) -> None:
    events = begun.event_set_create()
    handles = [begun.device_get_handle_by_pci_bus_id(bdf) for bdf in BDFS[:2]]
    hlml.fail(function, 15, BDF)
    with pytest.raises(HlmlError) as caught:
        CALLS[function](begun, handles[0], events)
    named = "device 0" if function.endswith("by_index") else BDF
    # The simulated one knows the address of a number, too.
    assert f" of {named} " in caught.value.message or f" of {BDF} " in caught.value.message
    if not function.startswith("device_get_handle"):
        CALLS[function](begun, handles[1], events)
    hlml.mend(function, BDF)
    CALLS[function](begun, handles[0], events)


@pytest.mark.parametrize("function", [name for name in CALLS if name != "shutdown"])
def test_before_init_every_function_says_so(library: Library, function: str) -> None:
    with pytest.raises(HlmlError) as caught:
        CALLS[function](library, 0, 0)
    assert caught.value.code == 1


def test_init_twice_and_again_after_the_end(begun: Library, hlml: HlmlFolder) -> None:
    with pytest.raises(HlmlError) as twice:
        begun.init()
    begun.shutdown()
    hlml.fail("init", 9)
    with pytest.raises(HlmlError) as failing:
        begun.init()
    hlml.mend("init")
    begun.init()
    assert (twice.value.code, failing.value.code) == (5, 9)
    assert "load the kernel module" in failing.value.cure


@pytest.mark.parametrize("name", ["serial", "uuid", "module_id", "memory_total"])
def test_a_fact_that_is_missing_is_no_data(begun: Library, hlml: HlmlFolder, name: str) -> None:
    (hlml.folder / "devices" / BDF / name).unlink()
    function = "device_get_memory_info" if name == "memory_total" else f"device_get_{name}"
    with pytest.raises(HlmlError) as caught:
        CALLS[function](begun, begun.device_get_handle_by_pci_bus_id(BDF), 0)
    assert str(caught.value).startswith(f"hlml_{function} of {BDF} returned 21: no data (")


def test_a_device_that_is_not_there_is_not_found(begun: Library) -> None:
    with pytest.raises(HlmlError) as by_index:
        begun.device_get_handle_by_index(9)
    with pytest.raises(HlmlError) as by_address:
        begun.device_get_handle_by_pci_bus_id("0000:ff:00.0")
    assert by_index.value.code == by_address.value.code == 6


# --------------------------------------------------------------------- the file itself


def test_a_text_longer_than_the_buffer_is_refused_not_cut(
    fake_hlml: Path, hlml: HlmlFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_HLML", str(hlml.folder))
    library = CtypesLibrary(str(fake_hlml))
    library.init()
    handle = library.device_get_handle_by_pci_bus_id(BDF)
    hlml.tell(BDF, "serial", "A" * 255)
    assert library.device_get_serial(handle) == "A" * 255
    hlml.tell(BDF, "serial", "A" * 256)
    with pytest.raises(HlmlError, match=f"^hlml_device_get_serial of {BDF} returned 7: insufficient size"):
        library.device_get_serial(handle)
    library.shutdown()


def test_older_releases_have_a_shorter_address(
    tmp_path: Path, hlml: HlmlFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_HLML", str(hlml.folder))
    library = CtypesLibrary(str(compile_library(tmp_path, "-DADDRESS=15")))
    library.init()
    assert library.device_get_pci_info(library.device_get_handle_by_index(0)) == BDF


def test_a_function_that_the_library_lacks_is_an_error_of_that_call_alone(
    tmp_path: Path, hlml: HlmlFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_HLML", str(hlml.folder))
    made = compile_library(tmp_path, "-Dhlml_device_get_uuid=other")
    library = CtypesLibrary(str(made))
    library.init()
    handle = library.device_get_handle_by_index(0)
    with pytest.raises(HlmlError, match=f"^{made} has no function hlml_device_get_uuid \\(update ") as caught:
        library.device_get_uuid(handle)
    assert caught.value.code is None
    assert library.device_get_serial(handle) == "AM50016130"


@pytest.mark.parametrize(
    "function", ["device_get_handle_by_index", "device_get_handle_by_pci_bus_id", "event_set_create"]
)
def test_success_that_gives_nothing_is_an_error(tmp_path: Path, function: str) -> None:
    source = tmp_path / "nothing.c"
    source.write_text(f"int hlml_{function}(void) {{ return 0; }}\n")
    library = CtypesLibrary(str(compile_library(tmp_path, source=source)))
    with pytest.raises(HlmlError, match=f"^hlml_{function} returned 0, success, but nothing"):
        CALLS[function](library, 0, 0)


def test_the_first_folder_that_has_it_wins(
    fake_hlml: Path, tmp_path: Path, hlml: HlmlFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_HLML", str(hlml.folder))
    (tmp_path / "b").mkdir()
    shutil.copy(fake_hlml, tmp_path / "b")
    library = open_library([str(tmp_path / "a"), str(tmp_path / "b")])
    library.init()
    assert library.device_get_count() == 3


def test_without_a_compiler_a_test_fails_and_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(
        pytest.fail.Exception, match=r"there is no cc\. Cure: apt-get install -y gcc libc6-dev"
    ):
        compile_library(tmp_path)


def test_none_is_told_with_what_to_do() -> None:
    with pytest.raises(HlmlError) as caught:
        open_library(["/nowhere/a", "/nowhere/b"], "libnone.so")
    said = str(caught.value)
    assert said.startswith(
        "there is no libnone.so in /nowhere/a, /nowhere/b, nor where the loader looks (install "
    )
    assert "--health-sources sysfs" in said


def test_a_file_that_is_no_library_is_told_as_such(tmp_path: Path) -> None:
    (tmp_path / "libhlml.so").write_text("not one")
    with pytest.raises(HlmlError, match=f"{tmp_path}/libhlml.so cannot be loaded: ") as caught:
        open_library([str(tmp_path)])
    assert "mount the whole folder" in caught.value.cure


def test_a_simulated_machine_without_one_says_so(tmp_path: Path) -> None:
    with pytest.raises(HlmlError, match="the simulated machine has no management library"):
        SimulatedLibrary(tmp_path / "hlml")
