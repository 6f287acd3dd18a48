"""The terms of the exchange: how long a permit waits, and how many providers one person may be asked of."""

from __future__ import annotations

import datetime as dt

import msgspec
import pytest

from hub import limits
from hub.catalog import Catalog
from hub.errors import CatalogError
from hub.messages import Inquiry

HEADER = "procedure,permit_days,providers_per_person_max\n"
PENSION, ALLOWANCE = "19-8/73/75.3", "19-8/106/108.1"


def terms_of(catalog: Catalog, procedure: str) -> tuple[int, int]:
    found = catalog.procedure(procedure)
    items, role = found.items[:1], found.roles[0]
    inquiry = Inquiry(
        requester="nenkin", procedure=procedure, items=items, role=role, section="課", request_id="1"
    )
    table = catalog.table(inquiry, dt.date(2026, 11, 28))
    return table.permit_days, table.providers_max


def test_without_a_line_the_defaults_hold():
    assert terms_of(Catalog.japan(), PENSION) == (limits.PERMIT_DAYS, limits.PROVIDERS_PER_PERSON_MAX) == (7, 3)


def test_a_procedures_own_line_goes_before_the_star_and_the_star_before_the_defaults():
    catalog = Catalog.japan().import_table(HEADER + f"*,14,4\n{PENSION},3,40\n")
    assert terms_of(catalog, PENSION) == (3, 40)
    assert terms_of(catalog, ALLOWANCE) == (14, 4)


def test_an_empty_number_is_the_default():
    catalog = Catalog.japan().import_table(HEADER + f"*,14,4\n{PENSION},,9\n{ALLOWANCE},9,\n")
    assert (terms_of(catalog, PENSION), terms_of(catalog, ALLOWANCE)) == ((7, 9), (9, 3))


def test_a_line_whose_procedure_is_there_replaces_the_old_one():
    catalog = Catalog.japan().import_table(HEADER + f"{PENSION},3,40\n")
    again = catalog.import_table(HEADER + f"{PENSION},3,40\n{ALLOWANCE},1,1\n")
    assert (again.imported.table, again.imported.added, again.imported.unchanged) == ("terms", 1, 1)
    changed = again.import_table(HEADER + f"{PENSION},4,40\n", "terms")
    assert changed.imported.updated == 1
    assert (terms_of(changed, PENSION), terms_of(changed, ALLOWANCE)) == ((4, 40), (1, 1))


@pytest.mark.parametrize(("days", "providers"), [("1", "1"), ("28", "255")])
def test_the_bounds_are_accepted(days, providers):
    catalog = Catalog.japan().import_table(HEADER + f"*,{days},{providers}\n")
    assert terms_of(catalog, PENSION) == (int(days), int(providers))


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (",7,3", "line 2: procedure: expected an id"),
        ("*,0,3", "line 2: permit_days: expected 1 to 28, got '0'"),
        ("*,29,3", "permit_days: expected 1 to 28, got '29'"),
        ("*,-1,3", "permit_days: expected 1 to 28"),
        ("*,7.5,3", "permit_days: expected 1 to 28"),
        ("*,²,3", "permit_days: expected 1 to 28"),
        ("*," + "9" * 300 + ",3", "permit_days: expected 1 to 28"),
        ("*,7,0", "providers_per_person_max: expected 1 to 255, got '0'"),
        ("*,7,256", "providers_per_person_max: expected 1 to 255, got '256'"),
    ],
)
def test_a_broken_line_is_named(line, words):
    with pytest.raises(CatalogError, match=words):
        Catalog.japan().import_table(HEADER + line + "\n")


def test_terms_of_no_procedure_are_a_grave_problem():
    catalog = Catalog.japan()
    before, after = (c.problems() for c in (catalog, catalog.import_table(HEADER + "*,7,3\n19-8/1/9,7,3\n")))
    assert len(after) == len(before) + 1
    assert after[0].grave
    assert "19-8/1/9, which is no procedure" in after[0].text


def test_a_permit_never_waits_longer_than_retention_counts_on():
    assert limits.REQUEST_DAYS + 1 + limits.PERMIT_DAYS_MAX <= limits.INQUIRY_OPEN_DAYS_MAX


def test_a_procedure_tells_its_terms():
    catalog = Catalog.japan().import_table(HEADER + f"{PENSION},3,40\n")
    assert "terms: permits of 3 days, at most 40 providers a person" in catalog.describe(PENSION)


def test_terms_are_stored_and_read_back():
    catalog = Catalog.japan().import_table(HEADER + f"*,14,4\n{PENSION},3,40\n")
    again = Catalog.load(catalog.dump())
    assert (again.tables, again.digest) == (catalog.tables, catalog.digest)
    assert catalog.digest != Catalog.japan().digest
    assert terms_of(again, PENSION) == (3, 40)


def test_a_catalog_that_has_none_of_the_later_tables_is_stored_as_before_they_came():
    payload = msgspec.msgpack.decode(Catalog.japan()._payload)
    assert len(payload) == 9
    assert len(msgspec.msgpack.decode(Catalog.japan().import_table(HEADER + "*,7,3\n")._payload)) == 10


CLERKS = HEADER.replace("\n", ",two_clerks\n")


@pytest.mark.parametrize(("text", "asks"), [("1", True), ("0", False), ("", False)])
def test_a_procedure_may_ask_for_a_second_clerk(text: str, asks: bool):
    catalog = Catalog.japan().import_table(CLERKS + f"{PENSION},3,40,{text}\n")
    assert Catalog.load(catalog.dump()).terms.of(PENSION).two_clerks is asks
    assert not catalog.terms.of(ALLOWANCE).two_clerks
    assert ("by hand only with a second clerk" in catalog.describe(PENSION)) is asks


def test_terms_that_say_nothing_of_clerks_keep_their_digest():
    before = Catalog.japan().import_table(HEADER + f"{PENSION},3,40\n")
    assert Catalog.japan().import_table(CLERKS + f"{PENSION},3,40,0\n").digest == before.digest
    assert msgspec.msgpack.decode(before._payload)[9] == [[PENSION, 3, 40]]
    assert Catalog.japan().import_table(CLERKS + f"{PENSION},3,40,1\n").digest != before.digest


@pytest.mark.parametrize("text", ["2", "yes", "-1"])
def test_a_mark_of_clerks_is_one_or_nothing(text: str):
    with pytest.raises(CatalogError, match="two_clerks: expected one of"):
        Catalog.japan().import_table(CLERKS + f"{PENSION},3,40,{text}\n")
