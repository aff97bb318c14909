from __future__ import annotations

from itertools import combinations, permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from qat_driver.kernels import parse_kernel
from qat_driver.products import PFS, PRODUCTS, Product
from qat_driver.services import KNOWN, IllegalServices, Services, choose, is_legal, legal_sets, parse

GEN4, GEN6, OLD = PFS["0x4940"], PFS["0x4948"], PFS["0x37c8"]
CHOOSING = [product for product in PRODUCTS if product.configurable]

texts = st.one_of(
    st.text(max_size=60),
    st.lists(st.sampled_from([*KNOWN, "", " sym ", "crypto"]), max_size=12).map(";".join),
)
subsets = st.sets(st.sampled_from(KNOWN))


def sets(*texts: str) -> set[str]:
    return set(texts)


# --------------------------------------------------------------------------- reading


@pytest.mark.parametrize(
    ("text", "canonical", "unknown"),
    [
        ("sym;asym\n", "sym;asym", ()),
        ("asym;sym", "sym;asym", ()),
        ("dcc", "dcc", ()),
        ("decomp;dc;asym;sym", "sym;asym;dc;decomp", ()),
        ("", "", ()),
        ("sym;chacha;sym; md5 ;chacha", "sym", ("chacha", "md5")),
        ("SYM", "", ("SYM",)),
    ],
)
def test_what_a_kernel_shows(text: str, canonical: str, unknown: tuple[str, ...]) -> None:
    services = parse(text)
    assert (services.text, services.unknown) == (canonical, unknown)


@given(texts)
def test_nothing_that_a_kernel_shows_is_refused_or_lost(text: str) -> None:
    services = parse(text)
    tokens = {token.strip() for token in text.split(";")} - {""}
    assert services.known == tokens & set(KNOWN)
    assert {token[:40] for token in tokens} >= set(services.unknown)
    assert bool(services.unknown) == bool(tokens - set(KNOWN))
    assert len(services.unknown) <= 8


@given(subsets)
def test_the_canonical_text_is_read_back_from_any_order(chosen: set[str]) -> None:
    services = Services(frozenset(chosen))
    assert parse(services.text) == services
    for order in list(permutations(chosen))[:6]:
        assert parse(";".join(order)).text == services.text


# --------------------------------------------------------------------------- what is legal


def test_the_sets_of_the_fourth_generation() -> None:
    expected = sets("sym", "asym", "dc", "sym;asym", "sym;dc", "asym;dc", "dcc")
    for device in ("0x4940", "0x4942", "0x4944", "0x4946"):
        assert {each.text for each in legal_sets(PFS[device])} == expected


def test_the_sets_of_the_sixth_generation() -> None:
    some = ("sym", "asym", "dc", "decomp")
    expected = {";".join(each) for size in (1, 2, 3) for each in combinations(some, size)} | {"dcc"}
    assert {each.text for each in legal_sets(GEN6)} == expected
    assert len(legal_sets(GEN6)) == 15


def test_older_products_have_nothing_to_choose() -> None:
    assert [legal_sets(product) for product in PRODUCTS if not product.configurable] == [()] * 7


@pytest.mark.parametrize(
    ("device", "kernel", "count"),
    [
        ("0x4940", "5.15.0-91-generic", 0),
        ("0x4940", "6.0.0", 7),
        ("0x4940", "6.12.0", 7),
        ("0x4946", "6.7.1", 0),
        ("0x4946", "6.8", 7),
        ("0x4948", "6.15.9", 0),
        ("0x4948", "6.16.0-rc1", 15),
        ("0x4948", "7.1.0", 15),
    ],
)
def test_the_kernel_must_be_able_to(device: str, kernel: str, count: int) -> None:
    assert len(legal_sets(PFS[device], parse_kernel(kernel))) == count


@given(
    subsets, st.sampled_from(PRODUCTS), st.one_of(st.none(), st.tuples(st.integers(5, 7), st.integers(0, 30)))
)
def test_all_ways_to_ask_what_is_legal_say_the_same(
    chosen: set[str], product: Product, kernel: tuple[int, int] | None
) -> None:
    legal = is_legal(chosen, product, kernel)
    assert legal == (frozenset(chosen) in {each.known for each in legal_sets(product, kernel)})
    text = Services(frozenset(chosen)).text
    if legal:
        assert choose(text, product, kernel).text == text
    else:
        with pytest.raises(IllegalServices):
            choose(text, product, kernel)


@given(texts, st.sampled_from(PRODUCTS))
def test_whatever_is_asked_for_is_legal_or_refused(text: str, product: Product) -> None:
    refusal = None
    try:
        services = choose(text, product)
    except IllegalServices as error:
        refusal = error
    else:
        assert services in legal_sets(product)
    assert refusal is None or (product.family in refusal.message and refusal.cure)


@pytest.mark.parametrize(
    ("text", "product", "why", "cure"),
    [
        (
            "sym;asym;dc",
            GEN4,
            "3 services are too many",
            "name up to 2 of sym, asym, dc, with ; between them, or dcc",
        ),
        ("decomp", GEN4, "it has no service decomp", "name up to 2 of sym, asym, dc, "),
        ("sym;dcc", GEN6, "dcc goes with no other service", "name up to 3 of sym, asym, dc, decomp, "),
        ("sym;sym", GEN4, "sym is there twice", "name up to 2"),
        ("sym;crypto", GEN4, "'crypto' is no service", "name up to 2"),
        ("", GEN4, "'' is no service", "name up to 2"),
        ("sym", OLD, "its services are fixed", "leave services out for QAT c62x"),
    ],
)
def test_a_refusal_names_cause_and_cure(text: str, product: Product, why: str, cure: str) -> None:
    with pytest.raises(IllegalServices) as caught:
        choose(text, product)
    assert caught.value.message == f"services {text!r} for QAT {product.family}: {why}"
    assert caught.value.cure
    assert caught.value.cure.startswith(cure)


def test_a_kernel_that_is_too_old_is_named() -> None:
    with pytest.raises(IllegalServices, match=r"kernel 5\.15 cannot choose its services; 6\.0 and newer can"):
        choose("sym", GEN4, (5, 15))


@pytest.mark.parametrize(
    ("release", "kernel"),
    [
        ("6.8.0-45-generic", (6, 8)),
        ("6.16", (6, 16)),
        ("7.1.0-rc3+", (7, 1)),
        ("", None),
        ("next-2026", None),
    ],
)
def test_versions_of_kernels(release: str, kernel: tuple[int, int] | None) -> None:
    assert parse_kernel(release) == kernel
