"""A stateful machine: whatever befalls a node, in whatever order, the claim engine keeps what it promised.

No device in two exclusive claims, or in one and in shares of others; an answer never changes; everything returned
resolves; nothing is left after the last unprepare.
"""

from __future__ import annotations

import errno
import logging
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar
from unittest.mock import patch

from dra_common.errors import LockTimeout, NotFound, ServerError, Throttled, Unreachable
from engine_world import ALL, DEVICES, SHARED, SPLIT, Ask, World
from hypothesis import seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from mortal import Life, Meeting
from properties.base import Property, fast_folder

OPERATIONS = ("prepare", "unprepare", "recover")
MOODS = (
    Unreachable("no connection"),
    ServerError("the API server answered 503", status=503),
    Throttled("the API server answered 429"),
    NotFound("no such claim", status=404),
)
BREAKS = ("apply", "revert", "bug:apply", "bug:revert", "bug:edits", "bug:discover", "bug:plan", "bug:locks")

devices = st.sampled_from(DEVICES)
everything = st.sampled_from(ALL)
parts = st.lists(
    st.tuples(st.sampled_from((*DEVICES, SHARED)), st.sampled_from(("whole", "whole", "whole", "admin"))),
    min_size=1,
    max_size=3,
    unique_by=lambda part: part[0],
)
whole_asks = st.builds(Ask, parts.map(tuple), st.sampled_from((5, 5, 7, 0, 11)))
share_asks = st.builds(
    Ask, st.sampled_from((((SHARED, "0a"),), ((SHARED, "0b"),), ((SHARED, "0c"), (SHARED, "0d"))))
)
only_shared = st.builds(Ask, st.just(((SHARED, "whole"),)), st.sampled_from((5, 0)))
split_asks = st.builds(
    lambda device, share: Ask(((device, "whole" if device == SPLIT else share),)),
    st.sampled_from((SPLIT, f"{SPLIT}-x2", f"{SPLIT}-x2", f"{SPLIT}-x3")),
    st.sampled_from(("1a", "1b", "1c")),
)
asks = st.lists(
    st.one_of(whole_asks, whole_asks, share_asks, share_asks, only_shared, split_asks, split_asks),
    min_size=2,
    max_size=3,
).map(tuple)
numbers, instances, moments = st.integers(0, 2), st.integers(0, 1), st.integers(1, 25)
operations = st.tuples(st.sampled_from(OPERATIONS), numbers, instances)
breaks = st.frozensets(st.builds("{}:{}".format, st.sampled_from(BREAKS), devices), max_size=2)
Operation = tuple[str, int, int]
STEPS = 30


class EngineMachine(RuleBasedStateMachine):
    """Rules are what happens to a node; invariants are asked after each."""

    world: World
    count: ClassVar[Callable[[], None]] = staticmethod(lambda: None)
    """Called once for each rule."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = fast_folder()
        logging.disable()

    @initialize(asks=asks)
    def node(self, asks: tuple[Ask, ...]) -> None:
        self.world = World(self.folder / "node", asks)

    def teardown(self) -> None:
        try:
            if hasattr(self, "world"):
                self.world.check_the_end()
        finally:
            logging.disable(logging.NOTSET)
            shutil.rmtree(self.folder)

    # ------------------------------------------------------------------ calls, in all circumstances

    @rule(operations=st.lists(operations, min_size=1, max_size=5))
    def calls(self, operations: list[Operation]) -> None:
        for operation in operations:
            self._do(operation)

    @rule(number=numbers)
    def ask_both(self, number: int) -> None:
        self.world.prepare(number)
        self.world.prepare(number, instance=1)

    @rule(operation=operations, mood=st.sampled_from(MOODS))
    def api_server_fails(self, operation: Operation, mood: Exception) -> None:
        self.world.bench.claims.down = mood
        self._do(operation)
        self.world.bench.claims.down = None

    @rule(first=operations, second=operations, broken=breaks)
    def hardware_fails(self, first: Operation, second: Operation, broken: frozenset[str]) -> None:
        """Once, or also for the one who comes to clean up."""
        self.world.driver.broken = set(broken)
        self._do(first)
        self._do(second)
        self.world.driver.broken = set()

    @rule(operation=operations, at=moments, recover=st.booleans(), broken=breaks, then=operations)
    def crash(
        self,
        operation: Operation,
        at: int,
        recover: bool,  # noqa: FBT001
        broken: frozenset[str],
        then: Operation,
    ) -> None:
        """The process is killed before one of its system calls; the other instance lives on."""
        name, number, instance = operation
        with self._in_the_way():
            died = Life(at).dies(self._do, operation)
        if died and name == "unprepare":
            self.world.forget(self.world.ref(number).uid)
        self.world.instances[instance].start()
        self.world.driver.broken = set(broken)
        if recover:
            self.world.recover(instance=instance)
        self._do(then)
        self.world.driver.broken = set()

    @rule(
        operation=operations,
        at=moments,
        number=st.sampled_from((errno.ENOSPC, errno.EIO, errno.EROFS)),
        lasting=st.booleans(),
    )
    def disk_fails(self, operation: Operation, at: int, number: int, lasting: bool) -> None:  # noqa: FBT001
        with (
            self._in_the_way(),
            Life(at, lambda: OSError(number, os.strerror(number)), lasting=lasting).lived(),
        ):
            self._do(operation)

    @rule(operation=operations, at=moments, other=operations)
    def meet(self, operation: Operation, at: int, other: Operation) -> None:
        """The other instance is asked for something before one of the system calls of this one."""

        def visit() -> None:
            with patch("time.sleep", side_effect=LockTimeout("locked by the other instance")):
                self._do((other[0], other[1], 1 - operation[2]))

        with self._in_the_way(), Meeting(at, visit).lived():
            self._do(operation)

    def _do(self, operation: Operation) -> None:
        name, number, instance = operation
        getattr(self.world, name)(number, instance)

    @contextmanager
    def _in_the_way(self) -> Iterator[None]:
        self.world.busy = True
        yield
        self.world.busy = False

    # ------------------------------------------------------------------ the node changes

    @rule(instance=instances)
    def restart(self, instance: int) -> None:
        self.world.instances[instance].start()
        self.world.recover(instance=instance)

    @rule(
        rebound=st.frozensets(everything, max_size=2),
        recover=st.sampled_from(("not", "after a power cut", "yes")),
        operation=operations,
        broken=breaks,
    )
    def reboot(
        self,
        rebound: frozenset[str],
        recover: str,
        operation: Operation,
        broken: frozenset[str],
    ) -> None:
        self.world.driver.watched ^= rebound
        self.world.reboot(power_cut=recover == "after a power cut")
        if recover != "not":
            self.world.recover()
        self.world.driver.broken = set(broken)
        self._do(operation)
        self.world.driver.broken = set()

    @rule(device=everything, operation=operations, back=st.booleans())
    def lose(self, device: str, operation: Operation, back: bool) -> None:  # noqa: FBT001
        self.world.unplug(device)
        self._do(operation)
        if back:
            self.world.plug_all()

    @rule(number=numbers, instance=instances)
    def lose_specs(self, number: int, instance: int) -> None:
        self.world.lose_specs()
        self.world.prepare(number, instance)

    @rule()
    def find_again(self) -> None:
        self.world.plug_all()

    @rule(device=devices)
    def rebind(self, device: str) -> None:
        """The device becomes one that needs other CDI ids."""
        self.world.driver.watched ^= {device}

    @rule(number=numbers, data=st.sampled_from((b"", b"\0\xff", b"{}", b'{"schema": 1')))
    def damage_record(self, number: int, data: bytes) -> None:
        self.world.damage(number, data)

    @rule(data=st.sampled_from((b"", b"{}", b'{"schema": 1')))
    def damage_mode(self, data: bytes) -> None:
        self.world.damage_mode(data)

    # ------------------------------------------------------------------ what must hold

    @invariant()
    def no_device_is_given_twice(self) -> None:
        type(self).count()
        self.world.check_no_device_is_given_twice()

    @invariant()
    def what_was_promised_is_on_record(self) -> None:
        self.world.check_what_was_promised_is_on_record()

    @invariant()
    def records_name_only_what_is_held(self) -> None:
        self.world.check_records_name_only_what_is_held()

    @invariant()
    def what_was_returned_resolves(self) -> None:
        self.world.check_what_was_returned_resolves()

    @invariant()
    def hardware_is_as_recorded(self) -> None:
        self.world.check_hardware_is_as_recorded()


@dataclass(frozen=True)
class Machine(Property[None]):
    """The machine as a target for fuzzing; each step counts as an input."""

    def run(self, part: int, whole: settings, count: Callable[[], None]) -> None:
        class Counted(EngineMachine):
            pass

        Counted.count = staticmethod(count)
        run_state_machine_as_test(seed(part)(Counted), settings=settings(whole, stateful_step_count=STEPS))


PROPERTY = Machine("engine", st.none(), lambda _: None, guided=False, chunk=20)
