"""Random ResourceSlices of one node."""

from dataclasses import dataclass

from allocation.case import Dice, Json, Traits

FAMILIES = ("Flex", "Max", "Arc")
ROOTS = ("pci0000:00", "pci0000:40", "pci0000:80")
VERSIONS = ("1.0.0", "1.2.0", "1.10.0", "2.0.0-rc.1")
ROOT = "resource.kubernetes.io/pcieRoot"
GI = 2**30


@dataclass(frozen=True, slots=True)
class Pool:
    """A pool in the making."""

    driver: str
    name: str
    node: str
    partitioned: bool
    shared: bool


def inventory(dice: Dice, node: str, drivers: list[str], traits: Traits) -> list[Json]:
    """Give all slices, in no order."""
    slices = []
    for driver in drivers:
        for number in range(dice.choice((1, 1, 1, 2)) if traits.large else 1):
            pool = Pool(driver, f"{node}-{number}", node, dice.chance(0.35), dice.chance(0.4))
            slices += _pool(dice, pool, traits)
    dice.shuffle(slices)
    return slices


def _pool(dice: Dice, pool: Pool, traits: Traits) -> list[Json]:
    sets = _counter_sets(dice) if pool.partitioned else []
    most = dice.choice((7,) * 24 + (36,)) if traits.large else 3
    contents: list[Json] = [{"sharedCounters": sets}] if sets else []
    for number in range(dice.choice((1, 1, 2))):
        devices = [_device(dice, pool, f"d{number}-{each}", sets) for each in range(dice.randint(2, most))]
        contents.append({"devices": devices})
    if traits.ordered and dice.chance(0.04):
        _break(dice, contents)
    generation = dice.randint(1, 3)
    missing = traits.whole_pools and dice.chance(0.03)
    slices = [_slice(dice, pool, content, generation, len(contents) + int(missing)) for content in contents]
    if traits.whole_pools and dice.chance(0.08):
        _spread(dice, slices, pool)
    if generation > 1 and dice.chance(0.3):
        leftover = {"devices": [_device(dice, pool, "d0-0", [])]}
        slices.append(_slice(dice, pool, leftover, generation - 1, 1))
    return slices


def _break(dice: Dice, contents: list[Json]) -> None:
    """Make the pool invalid: a device name twice, or a counter that is not there."""
    devices = contents[-1]["devices"]
    if dice.chance(0.5):
        contents.append({"devices": [dict(dice.choice(devices))]})
    else:
        missing = {"counterSet": "missing", "counters": {"units": {"value": "1"}}}
        devices[-1]["consumesCounters"] = [missing]


def _spread(dice: Dice, slices: list[Json], pool: Pool) -> None:
    """Give another node a slice of the pool; in some cases it has a newer generation."""
    newer = int(dice.chance(0.3))
    spec = slices[0]["spec"]["pool"]
    device = _device(dice, pool, "elsewhere", [])
    other = _slice(dice, pool, {"devices": [device]}, spec["generation"] + newer, 1)
    other["spec"]["nodeName"] = f"{pool.node}-other"
    slices.append(other)
    for each in slices:
        each["spec"]["pool"] = each["spec"]["pool"] | {"resourceSliceCount": len(slices)}


def _slice(dice: Dice, pool: Pool, content: Json, generation: int, count: int) -> Json:
    named = {"name": pool.name, "generation": generation, "resourceSliceCount": count}
    spec = {"driver": pool.driver, "nodeName": pool.node, "pool": named, **content}
    return {"metadata": {"name": f"{pool.name}-{dice.getrandbits(40):010x}-{pool.driver}"}, "spec": spec}


def _device(dice: Dice, pool: Pool, name: str, sets: list[Json]) -> Json:
    device: Json = {"name": name, "attributes": _attributes(dice, pool.driver)}
    shared = pool.shared and dice.chance(0.7)
    if shared:
        device["allowMultipleAllocations"] = True
    capacity = {}
    if dice.chance(0.85):
        capacity["memory"] = _capacity(dice, dice.choice((8, 16, 24)), GI, shared=shared)
    if dice.chance(0.5):
        capacity["slots"] = _capacity(dice, dice.choice((4, 6, 8)), 1, shared=shared)
    if capacity:
        device["capacity"] = capacity
    taints = [_taint(dice) for _ in range(dice.choice((0, 0, 0, 0, 0, 0, 1, 2)))]
    if taints:
        device["taints"] = taints
    consumed = [_consumed(dice, each) for each in dice.some(sets, 0)]
    if consumed:
        device["consumesCounters"] = consumed
    return device


def _attributes(dice: Dice, driver: str) -> Json:
    values: Json = {
        "family": {"string": dice.choice(FAMILIES)},
        "numa": {"int": dice.randint(0, 1)},
        "sriov": {"bool": dice.chance(0.5)},
        "firmware": {"version": dice.choice(VERSIONS)},
    }
    kept = {name: value for name, value in values.items() if dice.chance(0.85)}
    named = {f"{driver}/{name}" if dice.chance(0.15) else name: value for name, value in kept.items()}
    if dice.chance(0.85):
        named[ROOT] = {"string": dice.choice(ROOTS)}
    return named


def _taint(dice: Dice) -> Json:
    effect = dice.choice(("NoSchedule", "NoSchedule", "NoExecute", "None"))
    taint = {"key": f"test.example.com/{dice.choice(('worn', 'hot'))}", "effect": effect}
    if dice.chance(0.6):
        taint["value"] = dice.choice(("yes", "no"))
    return taint


def _counter_sets(dice: Dice) -> list[Json]:
    return [
        {"name": name, "counters": {each: {"value": str(dice.randint(1, 6))} for each in counters}}
        for name, counters in (("card", ("units", "engines")), ("board", ("units",)))[: dice.randint(1, 2)]
    ]


def _consumed(dice: Dice, counter_set: Json) -> Json:
    counters = {
        name: {"value": str(dice.randint(0, int(counter["value"])))}
        for name, counter in counter_set["counters"].items()
    }
    return {"counterSet": counter_set["name"], "counters": counters}


def _capacity(dice: Dice, total: int, unit: int, *, shared: bool) -> Json:
    capacity: Json = {"value": str(total * unit)}
    policy = _policy(dice, total, unit) if shared else None
    return capacity | ({"requestPolicy": policy} if policy else {})


def _policy(dice: Dice, total: int, unit: int) -> Json | None:
    kind = dice.choice(("none", "default", "values", "values", "range", "range", "steps", "steps"))
    if kind == "none":
        return None
    if kind == "default":
        return {"default": str(dice.randint(1, total) * unit)}
    if kind == "values":
        values = dice.some([each for each in (1, 2, 3, 4, 8, 16) if each <= total])
        return {
            "default": str(dice.choice(values) * unit),
            "validValues": [str(each * unit) for each in values],
        }
    return _range(dice, total, unit, stepped=kind == "steps")


def _range(dice: Dice, total: int, unit: int, *, stepped: bool) -> Json:
    """In halves of the unit, which of slots are fractions; steps of those need a gate that is off."""
    if stepped and unit == 1:
        total, unit = total // 2, 2
    least = dice.randint(1, 2)
    step = dice.randint(1, min(3, 2 * total - least)) if stepped else 1
    most = least + dice.randint(1, (2 * total - least) // step) * step
    default = least + dice.randint(0, (most - least) // step) * step
    valid = {"min": _halves(least, unit)}
    if dice.chance(0.6):
        valid["max"] = _halves(most, unit)
    if stepped:
        valid["step"] = _halves(step, unit)
    return {"default": _halves(default, unit), "validRange": valid}


def _halves(count: int, unit: int) -> str:
    return str(count * unit // 2) if count * unit % 2 == 0 else f"{count * unit * 500}m"
