"""Consents of an inquiry: each row goes by its own, alone, grouped, in chunks, from a file; none given is nobody's."""

from __future__ import annotations

import asyncio
import csv
import datetime as dt
import hashlib
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

import hub
from hub import limits
from hub.catalog import Catalog
from hub.cli import main
from hub.decode import decode_inquiry
from hub.errors import RequestError
from hub.files.inquiries import CAUSES, read_inquiry
from hub.messages import Answer, Inquiry, Reason, Status
from hub.requests import state as requests
from inquiries import tax_inquiry

HEADER = "basis,row,article,number,requester,procedure,provider,kind,detail,roles,copies\n"
RULES = HEADER + "".join(
    f"19-9,1,2,1,市町村長,医療費助成の申請の審査,市町村長,{item},保護者;同一世帯員,19-8/11/13.4\n"
    for item in ("地方税,市町村民税", "住民票,住民票")
)
ASKS, ASKED = "131016", "131024"
WAIT_S = 30.0
CONSENTS = np.arange(100) % 3 == 0
TAX_RULE = 1_000_001


def aid_inquiry(request_id: str = "r1", item: str = "地方税") -> Inquiry:
    return Inquiry(
        requester=ASKS, procedure="19-9/1/2.1", items=(item,), role="保護者", section="課", request_id=request_id
    )


def same(one: Answer, other: Answer) -> bool:
    return all((getattr(one, name) == getattr(other, name)).all() for name in ("status", "rule", "reason"))


@pytest.fixture
def aliases(opened: hub.Hub, codes: np.ndarray) -> np.ndarray:
    """A hundred people's at the town that asks; the town that is asked knows them all."""
    opened.load_catalog(opened.catalog.import_rules(RULES))
    opened.acquire(ASKED, codes)
    return opened.acquire(ASKS, codes).aliases


def expected(consents: np.ndarray) -> list[int]:
    return np.where(consents, Status.OK, Status.DENIED_CONSENT).tolist()


# -- the hub


def test_a_row_without_consent_is_denied_and_recorded(opened: hub.Hub, aliases: np.ndarray, codes: np.ndarray) -> None:
    answer = opened.inquire(aid_inquiry(), aliases, ASKED, consents=CONSENTS)
    assert answer.status.tolist() == expected(CONSENTS)
    assert answer.reason.tolist() == np.where(CONSENTS, Reason.NONE, Reason.CONSENT).tolist()
    assert set(answer.rule.tolist()) == {TAX_RULE}
    portal = opened.acquire("portal", codes[:2]).aliases
    outcomes = [opened.history(alias).records[0].outcome for alias in portal]
    assert outcomes == [Status.OK, Status.DENIED_CONSENT]
    assert opened.verify().ok


def test_nobody_or_everybody_may_have_consented(opened: hub.Hub, aliases: np.ndarray) -> None:
    for number, (consents, status) in enumerate(
        [
            (None, Status.DENIED_CONSENT),
            (False, Status.DENIED_CONSENT),
            (np.zeros(100, np.bool_), Status.DENIED_CONSENT),
            (True, Status.OK),
            (np.ones(100, np.bool_), Status.OK),
        ]
    ):
        answer = opened.inquire(aid_inquiry(f"r{number}"), aliases, ASKED, consents=consents)
        assert answer.status.tolist() == [status] * 100


def test_what_needs_no_consent_is_given_without_it(opened: hub.Hub, aliases: np.ndarray) -> None:
    assert opened.inquire(aid_inquiry(item="住民票"), aliases, ASKED).status.tolist() == [Status.OK] * 100


def test_grouped_chunked_and_single_rows_are_decided_alike(
    opened: hub.Hub, aliases: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    providers = [ASKED, "130001", ASKS, ASKED] * 25
    grouped = opened.inquire(aid_inquiry("grouped"), aliases, providers, consents=CONSENTS)
    singles = [
        opened.inquire(aid_inquiry(f"s{row}"), aliases[row : row + 1], providers[row], consents=bool(CONSENTS[row]))
        for row in range(12)
    ]
    monkeypatch.setattr(limits, "ROWS_GATHERED_MAX", 0)
    monkeypatch.setattr(requests, "ROWS_PER_CHUNK", 16)
    chunked = opened.inquire(aid_inquiry("chunked"), aliases, providers, consents=CONSENTS)
    assert opened.status(ASKS, "chunked").chunks == 7
    assert same(grouped, chunked)
    for row, one in enumerate(singles):
        assert (one.status[0], one.rule[0], one.reason[0]) == (
            grouped.status[row], grouped.rule[row], grouped.reason[row],
        )  # fmt: skip
        decision = opened.catalog.decide(aid_inquiry(), providers[row], consent=bool(CONSENTS[row]))
        assert (one.status[0], one.rule[0], one.reason[0]) == (decision.status, decision.rule, decision.reason)
    assert {Status.OK, Status.DENIED, Status.DENIED_CONSENT} == set(grouped.status.tolist())


@pytest.mark.parametrize("alike", [True, False])
def test_each_call_of_a_group_goes_by_its_own_consents(
    opened: hub.Hub, aliases: np.ndarray, codes: np.ndarray, alike: bool
) -> None:
    pension = opened.acquire("nenkin", codes).aliases
    ok, refused = Status.OK, Status.DENIED_CONSENT
    with opened._store.writer:
        # The first is formed by itself and waits for the writer; the others come together behind it.
        opened.inquire_soon(aid_inquiry("first"), aliases[:1], ASKED)
        asked = [
            (opened.inquire_soon(aid_inquiry("all"), aliases[:3], ASKED, consents=True), [ok, ok, ok]),
            (opened.inquire_soon(aid_inquiry("none"), aliases[:3], ASKED), [refused] * 3),
            (
                opened.inquire_soon(aid_inquiry("some"), aliases[:3], ASKED, consents=np.array([True, False, True])),
                [ok, refused, ok],
            ),
        ]
        if not alike:
            asked += [
                (opened.inquire_soon(tax_inquiry("pension"), pension[:3], ASKED), [ok, ok, ok]),
                (opened.inquire_soon(aid_inquiry("register", item="住民票"), aliases[:3], ASKED), [ok, ok, ok]),
            ]
    for future, statuses in asked:
        assert future.result(WAIT_S).status.tolist() == statuses
    assert opened.verify().ok


def test_waiting_or_not_the_answer_is_the_same(
    opened: hub.Hub, aliases: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = []
    for rows_gathered in (limits.ROWS_GATHERED_MAX, 10):
        monkeypatch.setattr(limits, "ROWS_GATHERED_MAX", rows_gathered)
        asked = aliases, ASKED
        soon = opened.inquire_soon(aid_inquiry(f"soon{rows_gathered}"), *asked, consents=CONSENTS)
        answers.append(soon.result(WAIT_S))
        answers.append(asyncio.run(opened.inquire_async(aid_inquiry(f"a{rows_gathered}"), *asked, consents=CONSENTS)))
    assert all(answer.status.tolist() == expected(CONSENTS) for answer in answers)


def test_marks_and_consents_go_together(opened: hub.Hub, aliases: np.ndarray, codes: np.ndarray) -> None:
    mark = hub.Withhold(ground="保護", until=dt.date(2030, 1, 1))
    marks = [mark, None] * 50
    answer = opened.inquire(aid_inquiry(), aliases, ASKED, consents=CONSENTS, withhold=marks)
    assert answer.status.tolist() == expected(CONSENTS)


def test_an_interrupted_inquiry_goes_on_with_the_same_consents(
    opened: hub.Hub, aliases: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(requests, "ROWS_PER_CHUNK", 16)

    def stop(rows: int) -> None:
        if rows >= 32:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        opened.inquire(aid_inquiry(), aliases, ASKED, consents=CONSENTS, progress=stop)
    assert opened.status(ASKS, "r1").chunks_done == 2
    with pytest.raises(RequestError, match="first used with"):
        opened.inquire(aid_inquiry(), aliases, ASKED, consents=True)
    answer = opened.inquire(aid_inquiry(), aliases, ASKED, consents=CONSENTS, progress=lambda rows: None)
    assert answer.status.tolist() == expected(CONSENTS)
    assert opened.stats()["records"] == 100


def test_the_same_id_with_other_consents_is_refused_and_with_the_same_in_another_form_answered(
    opened: hub.Hub, aliases: np.ndarray
) -> None:
    everybody = opened.inquire(aid_inquiry("all"), aliases, ASKED, consents=True)
    assert same(opened.inquire(aid_inquiry("all"), aliases, ASKED, consents=np.ones(100, np.bool_)), everybody)
    nobody = opened.inquire(aid_inquiry("none"), aliases, ASKED)
    assert same(opened.inquire(aid_inquiry("none"), aliases, ASKED, consents=np.zeros(100, np.bool_)), nobody)
    for request_id, consents in (("all", None), ("none", True), ("all", CONSENTS)):
        with pytest.raises(RequestError, match="first used with"):
            opened.inquire(aid_inquiry(request_id), aliases, ASKED, consents=consents)
    assert opened.stats()["records"] == 200


def test_the_digest_has_the_consents_only_where_somebody_consented() -> None:
    catalog = Catalog.japan()
    rows, inquiry = np.arange(160, dtype=np.uint8).reshape(10, 16), tax_inquiry()
    number = catalog.institution(ASKED).number
    plain = b"hub/request/1" + msgspec.msgpack.encode((inquiry, None)) + (10).to_bytes(8, "little") + rows.tobytes()
    plain += np.full(10, number, "<u4").tobytes()

    def digest(consents: Any) -> bytes:
        return decode_inquiry(catalog, inquiry, rows, ASKED, None, None, consents).digest

    assert digest(None) == digest(False) == digest(np.zeros(10, np.bool_)) == hashlib.sha256(plain).digest()
    assert digest(True) == hashlib.sha256(plain + b"consents\xff\x03").digest()
    some = np.isin(np.arange(10), (0, 9))
    assert digest(some) == hashlib.sha256(plain + b"consents\x01\x02").digest()
    # A column that is none of consecutive bytes counts as it reads.
    assert digest(np.repeat(some, 2)[::2]) == digest(some)


BAD: dict[str, Any] = {
    "a list": [True] * 100,
    "text": "all",
    "a number": 1,
    "a scalar": np.True_,
    "an array of no rows": np.array(True),
    "bytes": np.ones(100, np.uint8),
    "a row too few": np.ones(99, np.bool_),
    "a row too many": np.ones(101, np.bool_),
    "two dimensions": np.ones((100, 1), np.bool_),
}


@pytest.mark.parametrize("name", BAD)
def test_consents_of_another_kind_are_refused(opened: hub.Hub, aliases: np.ndarray, name: str) -> None:
    with pytest.raises(RequestError, match=r"consents: expected .*bool\[100\]"):
        opened.inquire(aid_inquiry(), aliases, ASKED, consents=BAD[name])
    assert opened.stats()["records"] == 0


def test_no_rows_need_no_consent(opened: hub.Hub, aliases: np.ndarray) -> None:
    for consents in (None, True, np.ones(0, np.bool_)):
        assert len(opened.inquire(aid_inquiry(), aliases[:0], ASKED, consents=consents)) == 0


# -- files and the command line


def write(path: Path, aliases: list[str], consents: list[str] | None) -> Path:
    if consents is None:
        path.write_text("alias,provider\n" + "".join(f"{alias},{ASKED}\n" for alias in aliases))
    else:
        lines = (f"{alias},{ASKED},{one}\n" for alias, one in zip(aliases, consents, strict=True))
        path.write_text("alias,provider,consent\n" + "".join(lines))
    return path


def test_a_file_says_in_a_column_who_consented(tmp_path: Path) -> None:
    aliases = [f"{number:032x}" for number in range(6)]
    path = write(tmp_path / "ask.csv", aliases, ["1", "0", "", "2", "01", "1"])
    (part,) = list(read_inquiry(path, {ASKED: 7}))
    assert isinstance(part.consents, np.ndarray)
    assert (part.row.tolist(), part.consents.tolist()) == ([1, 2, 6], [True, False, True])
    assert [CAUSES[cause] for cause in part.rejected.cause] == ["consent: expected 1 or 0"] * 3
    (part,) = list(read_inquiry(write(path, aliases, None), {ASKED: 7}))
    assert part.consents is None
    (part,) = list(read_inquiry(path, {ASKED: 7}, consent=True))
    assert part.consents is True


def test_a_file_with_the_column_takes_no_consent_for_all(tmp_path: Path) -> None:
    path = write(tmp_path / "ask.csv", ["0" * 32], ["1"])
    with pytest.raises(RequestError, match=r"expected the columns alias,provider\[,case\], found others"):
        read_inquiry(path, {ASKED: 7}, consent=True)


def test_the_command_line_states_consent_for_all_or_row_by_row(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HUB_FOLDER", raising=False)
    folder, rules, out = tmp_path / "linkage", tmp_path / "rules.csv", tmp_path / "out.csv"
    rules.write_text(RULES, encoding="utf-8")
    with hub.open(folder, create=True) as h:
        codes = np.arange(4) + 10**9
        h.acquire(ASKED, codes)
        aliases = [alias.tobytes().hex() for alias in h.acquire(ASKS, codes).aliases]
    assert main(["catalog", "import", str(folder), str(rules)]) == 0
    question = ["--requester", ASKS, "--procedure", "19-9/1/2.1", "--item", "地方税", "--role", "保護者"]

    def inquire(request_id: str, consents: list[str] | None, *more: str) -> tuple[int, list[str]]:
        source = write(tmp_path / "ask.csv", aliases, consents)
        words = ["inquire", str(folder), str(source), *question, "--section", "課", "--id", request_id]
        status = main([*words, "--out", str(out), *more])
        with out.open(encoding="utf-8", newline="") as file:
            return status, [line["status"] for line in csv.DictReader(file)]

    assert inquire("none", None) == (1, ["DENIED_CONSENT"] * 4)
    assert inquire("all", None, "--consent") == (0, ["OK"] * 4)
    assert inquire("some", ["1", "0", "0", "1"]) == (1, ["OK", "DENIED_CONSENT", "DENIED_CONSENT", "OK"])
    assert inquire("both", ["1"] * 4, "--consent")[0] == 2
    # An id stands for one file and one statement about it.
    assert inquire("all", None)[0] == 2
    capsys.readouterr()
    source = str(write(tmp_path / "ask.csv", aliases, ["1", "0", "0", "0"]))
    assert main(["inquire", "--check", str(folder), source, *question]) == 1
    told = capsys.readouterr().out
    assert "3  DENIED_CONSENT  CONSENT  the person's consent lacks" in " ".join(told.split("\n"))
    assert "1  OK" in told
    source = str(write(tmp_path / "ask.csv", aliases, None))
    assert main(["inquire", "--check", str(folder), source, *question, "--consent"]) == 0


def test_the_command_line_takes_in_limits_and_terms_and_shows_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HUB_FOLDER", raising=False)
    folder = str(tmp_path / "linkage")
    hub.open(folder, create=True).close()
    files = {
        "rules.csv": RULES,
        "limits.csv": f"institution,kind\n{ASKED},地方税\n",
        "terms.csv": "procedure,permit_days,providers_per_person_max\n19-9/1/2.1,14,5\n",
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
        assert main(["catalog", "import", folder, str(tmp_path / name)]) == 0
        assert f"{name}: {name.removesuffix('.csv')}: " in capsys.readouterr().out
    assert main(["catalog", "show", "19-9/1/2.1", "--folder", folder]) == 0
    told = capsys.readouterr().out
    assert "copies: 19-8/11/13.4" in told
    assert "terms: permits of 14 days, at most 5 providers a person" in told
    with hub.open(folder, readonly=True) as h:
        assert h.catalog.decide(aid_inquiry(), ASKED, consent=True).reason is Reason.LIMITED
        assert h.catalog.decide(aid_inquiry(item="住民票"), ASKED).allowed
