"""Random DeviceClasses and claims for the devices of ``inventories``."""

from dataclasses import dataclass

from allocation.case import Ask, Dice, Json, Release, Step, Traits
from allocation.inventories import FAMILIES, GI, ROOT, ROOTS, VERSIONS

# A claim may have 32 devices at most.
COUNTS = (1,) * 30 + (2,) * 14 + (3,) * 7 + (30,)


@dataclass(frozen=True, slots=True)
class Market:
    """What can be asked for."""

    drivers: list[str]
    classes: list[str]
    traits: Traits


def classes(dice: Dice, node: str, drivers: list[str], traits: Traits) -> list[Json]:
    """Give a class for each driver and one for whatever there is; some have configuration."""
    made = []
    for number, driver in enumerate(drivers):
        selectors = [f'device.driver == "{driver}"']
        if dice.chance(0.2):
            selectors.append(_guarded(dice, driver, traits))
        made.append(_class(dice, f"{node}-{number}", driver, selectors))
    made.append(_class(dice, f"{node}-any", drivers[0], []))
    return made


def steps(dice: Dice, market: Market) -> list[Step]:
    """Give what happens: claims come, some go again."""
    happening: list[Step] = []
    for number in range(dice.randint(2, 5)):
        if number > 1 and dice.chance(0.2):
            happening.append(Release(dice.randrange(number)))
        else:
            happening.append(Ask(_claim(dice, market)))
    return happening


def _class(dice: Dice, name: str, driver: str, selectors: list[str]) -> Json:
    spec: Json = {"selectors": [{"cel": {"expression": each}} for each in selectors]}
    if dice.chance(0.2):
        spec["config"] = [_opaque(driver, name)]
    return {"metadata": {"name": name}, "spec": spec}


def _opaque(driver: str, text: str) -> Json:
    return {"opaque": {"driver": driver, "parameters": {"apiVersion": "v1", "kind": "Some", "text": text}}}


def _claim(dice: Dice, market: Market) -> Json:
    count = dice.choice((1, 1, 1, 2, 2, 3) if market.traits.large else (1, 1, 2))
    requests = [_request(dice, market, f"r{number}") for number in range(count)]
    names = [request["name"] for request in requests]
    for request in requests:
        names += [f"{request['name']}/{each['name']}" for each in request.get("firstAvailable", [])]
    devices: Json = {"requests": requests}
    constraints = [_constraint(dice, market, names) for _ in range(dice.choice((0, 0, 0, 0, 1, 1, 2)))]
    if constraints:
        devices["constraints"] = constraints
    if dice.chance(0.15):
        config = _opaque(dice.choice(market.drivers), "claim")
        devices["config"] = [config | ({"requests": [dice.choice(names)]} if dice.chance(0.6) else {})]
    return {"devices": devices}


def _request(dice: Dice, market: Market, name: str) -> Json:
    if dice.chance(0.15):
        return {
            "name": name,
            "firstAvailable": [
                {"name": f"s{number}", **_wish(dice, market, first=number == 0)}
                for number in range(dice.randint(2, 3))
            ],
        }
    wish = _wish(dice, market, first=True)
    if dice.chance(0.08):
        wish["adminAccess"] = True
    return {"name": name, "exactly": wish}


def _wish(dice: Dice, market: Market, *, first: bool) -> Json:
    number = dice.randrange(len(market.classes))
    # The last class is for devices of any driver.
    driver = market.drivers[number] if number < len(market.drivers) else dice.choice(market.drivers)
    wish: Json = {"deviceClassName": market.classes[number]}
    selectors = [_selector(dice, driver, market.traits) for _ in range(dice.choice((0, 0, 0, 1, 1, 2)))]
    if selectors:
        wish["selectors"] = [{"cel": {"expression": each}} for each in selectors]
    if dice.chance(0.12) and (first or market.traits.alternatives_of_all):
        wish["allocationMode"] = "All"
    else:
        wish["count"] = dice.choice(COUNTS if market.traits.large else (1, 1, 2))
    if dice.chance(0.5):
        wish["tolerations"] = [_toleration(dice) for _ in range(dice.randint(1, 2))]
    if dice.chance(0.35):
        wish["capacity"] = {"requests": _amounts(dice, driver)}
    return wish


def _toleration(dice: Dice) -> Json:
    toleration: Json = {}
    if dice.chance(0.5):
        toleration["effect"] = dice.choice(("NoSchedule", "NoExecute"))
    if dice.chance(0.6):
        toleration["key"] = f"test.example.com/{dice.choice(('worn', 'hot'))}"
    if "key" in toleration and dice.chance(0.5):
        return toleration | {"operator": "Equal", "value": dice.choice(("yes", "no", ""))}
    return toleration | {"operator": "Exists"}


def _amounts(dice: Dice, driver: str) -> Json:
    choices = {
        "memory": str(dice.randint(1, 20) * GI // 2 + dice.choice((0, 0, 1))),
        "slots": dice.choice(("0", "1", "2", "3", "1500m", "250m")),
        f"{driver}/memory": "1Gi",
        "nothing": "1",
    }
    names = dice.choices(("memory", "slots", f"{driver}/memory", "nothing"), (16, 7, 1, 1), k=2)
    return {name: choices[name] for name in names[: dice.randint(1, 2)]}


def _constraint(dice: Dice, market: Market, names: list[str]) -> Json:
    attribute = dice.choice((ROOT, ROOT, *(f"{dice.choice(market.drivers)}/{each}" for each in _ATTRIBUTES)))
    distinct = market.traits.consumable and dice.chance(0.35)
    constraint: Json = {"distinctAttribute" if distinct else "matchAttribute": attribute}
    if dice.chance(0.4):
        constraint["requests"] = dice.some(names)
    return constraint


_ATTRIBUTES = ("family", "numa", "sriov", "firmware")


def _selector(dice: Dice, driver: str, traits: Traits) -> str:
    if traits.ordered and dice.chance(0.12):
        return _unguarded(dice, driver)
    one, two = _guarded(dice, driver, traits), _guarded(dice, driver, traits)
    return dice.choice((one, one, one, one, f"!({one})", f"({one}) || ({two})", f"({one}) && ({two})"))


def _guarded(dice: Dice, driver: str, traits: Traits) -> str:
    """Give an expression that is true or false of every device."""
    mine, amounts = f'device.attributes["{driver}"]', f'device.capacity["{driver}"]'
    family, version = dice.choice(FAMILIES), dice.choice(VERSIONS)
    return dice.choice(
        (
            f'{mine}.?family.orValue("") == "{family}"',
            f'"sriov" in {mine} && {mine}.sriov',
            f'has({mine}.family) && {mine}.family.startsWith("{family[:2]}")',
            f'["Max", "{family}"].exists(each, each == {mine}.?family.orValue("none"))',
            f"{mine}.?numa.orValue(0) in [{dice.randint(0, 1)}, 7]",
            f'{mine}.?firmware.orValue(semver("0.0.1")).compareTo(semver("{version}")) >= 0',
            f'has({mine}.firmware) && {mine}.firmware.isLessThan(semver("{version}"))',
            f'{amounts}.?memory.orValue(quantity("0")).compareTo(quantity("{dice.randint(4, 20)}Gi")) >= 0',
            f'has({amounts}.memory) && {amounts}.memory.sub(quantity("4Gi")).isGreaterThan(quantity("5Gi"))',
            f'"slots" in {amounts} && {amounts}.slots.asInteger() > {dice.randint(1, 4)}',
            f'has({mine}.family) && {mine}.family.lowerAscii().matches("^[a-f]")',
            f'device.attributes["resource.kubernetes.io"].?pcieRoot.orValue("x") != "{dice.choice(ROOTS)}"',
            f'device.driver == "{driver}" || size({mine}) == 0',
            "device.allowMultipleAllocations || true" if traits.consumable else "true",
            "device.allowMultipleAllocations" if traits.consumable and dice.chance(0.3) else "true",
        )
    )


def _unguarded(dice: Dice, driver: str) -> str:
    """Give an expression that fails on devices without the attribute."""
    mine = f'device.attributes["{driver}"]'
    return dice.choice(
        (
            f'{mine}.family == "{dice.choice(FAMILIES)}"',
            f"{mine}.sriov",
            f"{mine}.numa < 1 || {mine}.sriov",
            f'device.capacity["{driver}"].memory.isGreaterThan(quantity("8Gi"))',
            'device.attributes["resource.kubernetes.io"].pcieRoot.endsWith("0")',
        )
    )
