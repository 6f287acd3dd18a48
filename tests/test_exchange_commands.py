"""``hub collect``, ``hub provide`` and ``hub answers`` on a folder in which the agency asks two cities about people."""

from __future__ import annotations

import base64
import re
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import hub
from hub.commands import exchange
from hub.commands.progress import Stopping
from hub.files import tables
from hub.files.columns import decode_permits, find_lines, permit_column
from hub.files.inquiries import read_answers
from hub.files.tables import TableWriter
from hub.limits import PAYLOAD_BYTES_MAX
from test_cli import CITY, CODES, OTHER_CITY, Desk, Run, read

COLUMNS = [
    "permit", "alias", "requester", "requester_name", "procedure", "items", "role", "section", "reference_date",
    "legal_basis", "valid_until", "manual", "asked",
]  # fmt: skip
ASKED = 12


class Exchange(Desk):
    """The agency has asked the city about twelve people, and about one whom nobody knows."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        super().__init__(folder, capsys)
        rows = [f"{alias},{CITY}" for alias in self.aliases[:ASKED]]
        assert self.inquire(self.ask([*rows, f"{'0' * 32},{CITY}"]))[0] == 0

    def collect(self, *words: str | Path, name: str = "permits.csv") -> list[dict[str, str]]:
        self.status, self.told, _ = self.run("collect", self.hub, CITY, "--out", self.folder / name, *words)
        return read(self.folder / name)

    def cursor(self) -> str:
        return self.told.split()[-1]

    def answer_file(self, lines: list[str], head: str = "permit,outcome,reason,payload") -> Path:
        path = self.folder / "provided.csv"
        path.write_text("\n".join([head, *lines, ""]), encoding="utf-8")
        return path

    def provide(self, *words: str | Path) -> Run:
        return self.run("provide", self.hub, CITY, self.folder / "provided.csv", *words)

    def answers(self, *words: str | Path, request_id: str = "tax") -> tuple[int, list[dict[str, str]]]:
        out = self.folder / "data.csv"
        self.status, self.told, self.error = self.run("answers", self.hub, "nenkin", request_id, "--out", out, *words)
        return self.status, read(out)

    def records(self) -> int:
        with hub.open(self.hub, readonly=True) as h:
            return int(h.stats()["records"])

    def rejected(self) -> list[tuple[str, str]]:
        return [(one["line"], one["cause"]) for one in read(self.folder / "provided.rejected.csv")]


@pytest.fixture
def desk(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Exchange:
    monkeypatch.delenv("HUB_FOLDER", raising=False)
    return Exchange(tmp_path, capsys)


def text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def stop_after_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def check(self: Stopping) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Stopping, "check", check)


# Collect


def test_collect_writes_a_line_a_permit_with_the_citys_own_aliases(desk: Exchange) -> None:
    rows = desk.collect()
    assert desk.status == 0
    assert list(rows[0]) == COLUMNS
    assert {row["alias"] for row in rows} == set(desk.city[:ASKED])
    assert len({row["permit"] for row in rows}) == ASKED
    assert rows == sorted(rows, key=lambda row: row["permit"]), "in the order of the numbers"
    first = rows[0]
    assert (first["requester"], first["requester_name"], first["items"]) == ("nenkin", "日本年金機構", "市町村民税")
    assert (first["role"], first["section"], first["reference_date"]) == ("納付義務者", "年金課", "")
    assert (first["manual"], first["asked"]) == ("0", "0")
    assert first["valid_until"].endswith("T00:00:00+09:00")
    assert f"{ASKED} permits of {CITY}" in desk.told
    assert "19-8/73/75.3" in desk.told
    assert "tax" not in (desk.folder / "permits.csv").read_text(), "no request id"


def test_behind_the_cursor_nothing_waits_until_somebody_asks_again(desk: Exchange) -> None:
    desk.collect()
    cursor = desk.cursor()
    assert desk.collect("--after", cursor) == []
    assert desk.status == 1
    desk.inquire(desk.ask([f"{desk.aliases[20]},{CITY}"]), "later")
    assert [row["alias"] for row in desk.collect("--after", cursor)] == [desk.city[20]]
    assert len(desk.collect()) == ASKED + 1, "what is not answered comes again"


@pytest.mark.parametrize("page", [1, 5, ASKED, ASKED + 1])
def test_pages_hold_every_permit_once(desk: Exchange, page: int, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = desk.collect()
    monkeypatch.setattr(exchange, "COLLECT_ROWS", page)
    assert sorted(map(str, desk.collect())) == sorted(map(str, whole))
    found = desk.collect("--limit", "5")
    while rows := desk.collect("--limit", "5", "--after", desk.cursor()):
        found += rows
    assert sorted(map(str, found)) == sorted(map(str, whole))


def test_what_a_clerk_must_decide_is_collected_apart(desk: Exchange) -> None:
    desk.run("flag", desk.hub, CITY, "--alias", desk.city[3], "--manual")
    rows = desk.collect("--manual")
    assert [(row["alias"], row["manual"], row["asked"]) for row in rows] == [(desk.city[3], "1", "1")]
    rows = desk.collect("--automatic")
    assert {row["alias"] for row in rows} == {*desk.city[:3], *desk.city[4:ASKED]}
    assert {row["manual"] for row in rows} == {"0"}


def test_a_stopped_collection_leaves_no_file(desk: Exchange, monkeypatch: pytest.MonkeyPatch) -> None:
    stop_after_one(monkeypatch)
    status, told, err = desk.run("collect", desk.hub, CITY, "--out", desk.folder / "permits.csv")
    assert (status, told) == (130, "")
    assert "give the command again" in err
    assert not (desk.folder / "permits.csv").exists()


# Provide and answers


def answer_all(desk: Exchange) -> dict[str, tuple[str, str, str]]:
    """Each outcome once, MANUAL for one, and data for the rest; what the agency must read, by the city's alias."""
    outcomes = [
        ("EMPTY", ""), ("NO_RECORD", ""), ("NO_RECORD", "NOT_LOADED"), ("REFUSED", "UNDER_CORRECTION"), ("MANUAL", ""),
    ]  # fmt: skip
    lines, expected = [], {}
    for row in desk.collect():
        outcome, reason = outcomes.pop() if outcomes else ("PROVIDED", "")
        data = text(f"<tax person={row['alias'][:2]}>".encode()) if outcome == "PROVIDED" else ""
        lines.append(f"{row['permit']},{outcome},{reason},{data}")
        expected[row["alias"]] = ("PENDING" if outcome == "MANUAL" else outcome, reason or "NONE", data)
    desk.answer_file(lines)
    return expected


def test_answers_come_back_in_the_order_of_the_inquiry(desk: Exchange) -> None:
    expected = answer_all(desk)
    status, told, err = desk.provide()
    assert (status, err) == (0, "")
    assert f"{ASKED} answers of {CITY} are durable" in told
    status, rows = desk.answers()
    assert status == 1, "a clerk has to decide about one"
    assert list(rows[0]) == ["row", "status", "reason", "payload"]
    assert [row["row"] for row in rows] == [str(i) for i in range(1, ASKED + 2)]
    found = [(row["status"], row["reason"], row["payload"]) for row in rows]
    assert found == [*(expected[alias] for alias in desk.city[:ASKED]), ("UNKNOWN_ALIAS", "NONE", "")]
    assert (desk.folder / "data.csv").stat().st_mode & 0o777 == 0o600


def test_given_again_provide_records_nothing_twice(desk: Exchange) -> None:
    answer_all(desk)
    desk.provide()
    before, rows = desk.records(), desk.answers()
    assert desk.provide()[0] == 0
    assert (desk.records(), desk.answers()) == (before, rows)


def test_a_clerks_answer_follows_a_machines_manual(desk: Exchange) -> None:
    answer_all(desk)
    desk.provide()
    (row,) = desk.collect("--manual")
    desk.answer_file([f"{row['permit']},EMPTY"], "permit,outcome")
    assert desk.provide("--clerk", "sato")[0] == 0
    assert desk.answers()[0] == 0
    assert desk.collect() == []


def test_lines_of_the_wrong_shape_are_set_aside_with_line_and_cause(desk: Exchange) -> None:
    permits = [row["permit"] for row in desk.collect()]
    good = permits[0]
    desk.answer_file(
        [
            f"{good.upper()},PROVIDED,NONE,{text(b'x')}", f"{good}0,EMPTY,,", f"{permits[1]},OK,,",
            f"{permits[2]},REFUSED,,", f"{permits[3]},EMPTY,UNDER_CORRECTION,", f"{permits[4]},EMPTY,,{text(b'x')}",
            f"{permits[5]},PROVIDED,,x!", f"{permits[6]},PROVIDED", "", f"{permits[7]},REFUSED,CONSENT,",
            f"{permits[8]},EMPTY,NOT_LOADED,", f"{permits[9]},REFUSED,NOT_LOADED,",
        ]
    )  # fmt: skip
    status, told, err = desk.provide()
    assert (status, err) == (1, "")
    assert "1 answers" in told
    causes = [(line, cause.split(":")[0]) for line, cause in desk.rejected()]
    assert causes == [
        ("3", "permit"), ("4", "outcome"), ("5", "reason"), ("6", "reason"), ("7", "payload"), ("8", "payload"),
        ("9", "wrong number of columns"), ("11", "reason"), ("12", "reason"), ("13", "reason"),
    ]  # fmt: skip
    assert not any(permit in told + (desk.folder / "provided.rejected.csv").read_text() for permit in permits)
    assert [row["payload"] for row in desk.answers()[1]].count(text(b"x")) == 1


def test_what_the_hub_does_not_take_is_set_aside_and_the_rest_is_taken(desk: Exchange) -> None:
    permits = [row["permit"] for row in desk.collect()]
    desk.answer_file([f"{permits[0]},PROVIDED,,{text(b'x')}", f"{permits[1]},EMPTY,,"])
    desk.provide()
    lines = [f"{permit},EMPTY,," for permit in permits]
    desk.answer_file([*lines, "0123456789abcdef,EMPTY,,", lines[5], f"{permits[6]},NO_RECORD,,"])
    before = desk.records()
    assert desk.provide()[0] == 1
    assert desk.rejected() == [
        ("2", "permit: was answered otherwise before"),
        ("14", "permit: expected one of this institution, got another"),
        ("16", "permit: was answered otherwise before"),
    ]
    assert desk.records() == before + ASKED - 2
    assert desk.answers()[0] == 0


def test_lapsed_permits_are_set_aside_all_at_once(desk: Exchange, monkeypatch: pytest.MonkeyPatch) -> None:
    permits = [row["permit"] for row in desk.collect()]
    with hub.open(desk.hub, clock=lambda: time.time() + 9 * 86_400) as h:
        assert h.lapse() == ASKED
    calls = []
    provide = hub.Hub.provide
    monkeypatch.setattr(hub.Hub, "provide", lambda *words, **more: (calls.append(1), provide(*words, **more))[1])
    desk.answer_file([f"{permit},EMPTY,," for permit in permits])
    assert desk.provide()[0] == 1
    assert desk.rejected() == [(str(line), "permit: has lapsed") for line in range(2, ASKED + 2)]
    assert len(calls) == 1
    assert {row["status"] for row in desk.answers()[1]} == {"LAPSED", "UNKNOWN_ALIAS"}


def test_an_error_of_rows_names_all_of_them_and_changes_nothing(desk: Exchange) -> None:
    with hub.open(desk.hub) as h:
        (permits,) = h.collect(CITY)
        h.register_key("nenkin", hub.new_payload_key()[1])
        sealed = hub.seal_payload(h.payload_key("nenkin") or b"", b"tax")
        for numbers, payloads, cause in (
            (permits.permit ^ np.array([0, 1] * (ASKED // 2), np.uint64), [sealed] * ASKED, "unknown"),
            (permits.permit, [sealed, b"tax"] * (ASKED // 2), "payload"),
        ):
            with pytest.raises(hub.errors.RowsError) as error:
                h.provide(CITY, numbers, hub.Status.PROVIDED, payloads)
            assert (error.value.rows, error.value.cause) == (list(range(1, ASKED, 2)), cause)
        h.provide(CITY, permits.permit[::2], hub.Status.EMPTY)
        with pytest.raises(hub.errors.RowsError) as error:
            h.provide(CITY, permits, hub.Status.NO_RECORD)
        assert (error.value.rows, error.value.cause) == (list(range(0, ASKED, 2)), "answered")
        assert sum(map(len, h.collect(CITY))) == ASKED // 2


def test_payloads_of_the_longest_are_taken_and_one_byte_more_is_not(desk: Exchange) -> None:
    permits = [row["permit"] for row in desk.collect()]
    data = bytes(range(256)) * (PAYLOAD_BYTES_MAX // 256)
    desk.answer_file([f"{permits[0]},PROVIDED,,{text(data)}", f"{permits[1]},PROVIDED,,{text(data + b'x')}"])
    assert desk.provide()[0] == 1
    assert [line for line, _ in desk.rejected()] == ["3"]
    assert {row["payload"] for row in desk.answers()[1]} == {"", text(data)}


def in_parts(monkeypatch: pytest.MonkeyPatch, rows: int) -> None:
    monkeypatch.setattr(exchange, "read_answers", lambda *words, **more: read_answers(*words, rows=rows, **more))


def test_a_stopped_provide_keeps_its_parts_and_goes_on(desk: Exchange, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = answer_all(desk)
    in_parts(monkeypatch, 5)
    with monkeypatch.context() as once:
        stop_after_one(once)
        status, told, err = desk.provide()
    assert (status, told) == (130, "")
    assert "5 answers are durable" in err
    assert desk.records() == ASKED + 4, "five, of which a clerk decides one"
    assert desk.provide()[0] == 0
    assert desk.records() == 2 * ASKED - 1
    assert [row["status"] for row in desk.answers()[1]][:ASKED] == [expected[alias][0] for alias in desk.city[:ASKED]]


@pytest.mark.parametrize("rows", [1, 5, ASKED, ASKED + 1])
def test_parts_of_any_size_answer_the_same(desk: Exchange, rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = answer_all(desk)
    in_parts(monkeypatch, rows)
    monkeypatch.setattr(exchange, "ANSWERS_ROWS_MIN", rows)
    monkeypatch.setattr(exchange, "ANSWERS_BYTES", 1)
    assert desk.provide()[0] == 0
    found = [(row["status"], row["reason"], row["payload"]) for row in desk.answers()[1]]
    assert found[:ASKED] == [expected[alias] for alias in desk.city[:ASKED]]


@pytest.mark.parametrize("suffix", ["parquet", "arrow"])
def test_files_of_other_kinds_hold_the_same(desk: Exchange, suffix: str) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    __import__("pyarrow.parquet"), __import__("pyarrow.feather")
    reader = pyarrow.parquet.read_table if suffix == "parquet" else pyarrow.feather.read_table
    rows = desk.collect()
    desk.run("collect", desk.hub, CITY, "--out", desk.folder / f"permits.{suffix}")
    found = reader(desk.folder / f"permits.{suffix}").to_pylist()
    assert [{name: str(cell) for name, cell in row.items()} for row in found] == rows
    source = desk.folder / f"provided.{suffix}"
    with TableWriter(source, ("permit", "outcome", "payload")) as writer:
        count = len(rows)
        writer.write([[row["permit"] for row in rows], ["PROVIDED"] * count, [text(b"x")] * count])
    assert desk.run("provide", desk.hub, CITY, source)[0] == 0
    desk.run("answers", desk.hub, "nenkin", "tax", "--out", desk.folder / f"data.{suffix}")
    found = reader(desk.folder / f"data.{suffix}").to_pylist()
    assert [(row["row"], row["payload"]) for row in found[:ASKED]] == [(i + 1, text(b"x")) for i in range(ASKED)]


def test_quoted_files_are_cut_in_pieces_too(desk: Exchange, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hub.files.tables.BLOCK_BYTES", 64)
    permits = [row["permit"] for row in desk.collect()]
    path = desk.answer_file([f'"{permit}",PROVIDED,,{text(b"x" * 40)}' for permit in permits])
    blocks = list(read_answers(path)._table.blocks())
    assert [len(block.line) for block in blocks] == [1] * ASKED
    assert desk.provide()[0] == 0
    assert desk.answers()[0] == 0


# Files that were inquired in parts


def test_a_file_that_was_inquired_in_parts_is_answered_whole(
    desk: Exchange, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hub.commands.inquire.PART_ROWS", 3)
    # The second part has no row that is sent, the third one some.
    rows = [f"{alias},{CITY}" for alias in desk.aliases[20:23]] + ["x,y"] * 4 + [f"{desk.aliases[24]},{CITY}"]
    assert desk.inquire(desk.ask(rows), "file")[0] == 1
    status, found = desk.answers(request_id="file")
    assert (status, [row["status"] for row in found]) == (1, ["PENDING"] * 4)
    permits = {row["alias"]: row["permit"] for row in desk.collect()}
    asked = [*desk.city[20:23], desk.city[24]]
    desk.answer_file([f"{permits[alias]},PROVIDED,,{text(alias.encode())}" for alias in asked])
    desk.provide()
    status, found = desk.answers("--fetched", request_id="file")
    assert status == 0
    assert [(row["row"], row["payload"]) for row in found] == [
        (str(i + 1), text(alias.encode())) for i, alias in enumerate(asked)
    ]
    assert {row["payload"] for row in desk.answers(request_id="file")[1]} == {""}


def test_a_file_of_which_nothing_was_sent_has_no_answers(desk: Exchange) -> None:
    desk.inquire(desk.ask(["x,y"]), "nothing")
    assert desk.answers(request_id="nothing") == (0, [])


def test_a_file_that_was_not_sent_whole_has_no_answers_yet(desk: Exchange) -> None:
    with hub.open(desk.hub) as h:
        h.begin_file("nenkin", "half", bytes(32), 10)
    assert desk.run("answers", desk.hub, "nenkin", "half", "--out", desk.folder / "o.csv")[0] == 2
    assert not (desk.folder / "o.csv").exists()


def test_the_requests_of_programs_are_answered_by_their_own_id(desk: Exchange) -> None:
    with hub.open(desk.hub) as h:
        inquiry = hub.Inquiry(
            requester="nenkin", procedure="19-8/73/75.3", items=("市町村民税",), role="納付義務者", section="年金課",
            request_id="program",
        )  # fmt: skip
        mine = h.acquire("nenkin", CODES[41:42]).aliases
        h.inquire(inquiry, mine, OTHER_CITY)
    assert [row["status"] for row in desk.answers(request_id="program")[1]] == ["PENDING"]


# Fetched


def test_fetched_says_so_only_where_nothing_waits(desk: Exchange) -> None:
    answer_all(desk)
    desk.provide()
    status, rows = desk.answers("--fetched")
    assert status == 1
    assert "the hub keeps the data" in desk.told
    assert desk.answers()[1] == rows
    (row,) = desk.collect("--manual")
    desk.answer_file([f"{row['permit']},EMPTY"], "permit,outcome")
    desk.provide("--clerk", "sato")
    status, rows = desk.answers("--fetched")
    assert (status, "forgotten" in desk.told) == (0, True)
    assert len([row for row in rows if row["payload"]]) == ASKED - 5
    again = desk.answers()[1]
    assert [row["status"] for row in again] == [row["status"] for row in rows]
    assert not any(row["payload"] for row in again)


def test_nothing_is_forgotten_where_the_result_could_not_be_written(
    desk: Exchange, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.answer_file([f"{row['permit']},PROVIDED,,{text(b'x')}" for row in desk.collect()])
    desk.provide()

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as full:
        full.setattr("hub.files.tables.os.fsync", fail)
        assert desk.run("answers", desk.hub, "nenkin", "tax", "--out", desk.folder / "data.csv", "--fetched")[0] == 3
    assert not (desk.folder / "data.csv").exists()
    assert [row["payload"] for row in desk.answers()[1]].count(text(b"x")) == ASKED


@pytest.mark.parametrize(
    "words",
    [
        ["collect", "{hub}", "nobody", "--out", "{folder}/o.csv"],
        ["collect", "{hub}", CITY, "--out", "{folder}/o.csv", "--after", "00"],
        ["collect", "{hub}", CITY, "--out", "{folder}/o.csv", "--limit", "0"],
        ["collect", "{hub}", CITY, "--out", "{folder}/none/o.csv"],
        ["provide", "{hub}", "nobody", "{folder}/ask.csv"], ["provide", "{hub}", CITY, "{folder}/ask.csv"],
        ["provide", "{hub}", CITY, "{folder}/none.csv"],
        ["answers", "{hub}", "nenkin", "none", "--out", "{folder}/o.csv"],
        ["answers", "{hub}", CITY, "tax", "--out", "{folder}/o.csv"],
        ["answers", "{hub}", "nobody", "tax", "--out", "{folder}/o.csv"],
    ],
)  # fmt: skip
def test_a_wrong_request_is_one_line_and_changes_nothing(desk: Exchange, words: list[str]) -> None:
    before = desk.records()
    status, told, err = desk.run(*(word.format(hub=desk.hub, folder=desk.folder) for word in words))
    assert (status, told) == (2, "")
    assert len(err.splitlines()) == 1
    assert desk.records() == before
    assert not (desk.folder / "o.csv").exists()


# Sealed


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_sealed_answers_are_opened_by_the_key_and_by_nothing_else(desk: Exchange, suffix: str) -> None:
    keys = [desk.folder / name for name in ("nenkin.key", "other.key")]
    public, other = (desk.run("key", "new", path)[1].strip() for path in keys)
    desk.run("key", "register", desk.hub, "nenkin", public)
    permits = [row["permit"] for row in desk.collect()]
    source = desk.answer_file([f"{permits[0]},PROVIDED,,{text(b'tax')}", f"{permits[1]},EMPTY,,"])
    assert desk.provide()[0] == 1
    assert desk.rejected() == [("2", "payload: expected one sealed to the requester's key, got another")]
    sealed = desk.folder / f"sealed.{suffix}"
    assert desk.run("key", "seal", source, other, "--out", sealed)[0] == 0
    assert desk.run("provide", desk.hub, CITY, sealed)[0] == 1
    status, told, _ = desk.run("key", "seal", source, public, "--out", sealed)
    assert (status, told) == (0, f"{sealed}: 2 rows, 1 payloads sealed\n")
    assert desk.run("provide", desk.hub, CITY, sealed)[0] == 0
    data, opened = desk.folder / f"data.{suffix}", desk.folder / "opened.csv"
    desk.run("answers", desk.hub, "nenkin", "tax", "--out", data)
    assert desk.run("key", "open", data, keys[0], "--out", opened)[0] == 0
    assert [row["payload"] for row in read(opened) if row["payload"]] == [text(b"tax")]
    assert [row["status"] for row in read(opened)] == [row["status"] for row in desk.answers()[1]]
    assert opened.stat().st_mode & 0o777 == 0o600
    status, told, _ = desk.run("key", "open", data, keys[1], "--out", opened)
    assert (status, len(read(opened))) == (1, ASKED)
    assert [row["cause"] for row in read(desk.folder / "data.rejected.csv")] == [
        "payload: expected one sealed to this key, got another"
    ]


@pytest.mark.parametrize(
    "words",
    [
        ["seal", "{file}", "12", "--out", "{folder}/o.csv"], ["seal", "{file}", "zz", "--out", "{folder}/o.csv"],
        ["seal", "{file}", "00" * 32, "--out", "{folder}/o.csv"], ["open", "{file}", "{file}", "--out", "{folder}/o"],
        ["open", "{file}", "{folder}/none.key", "--out", "{folder}/o.csv"],
    ],
)  # fmt: skip
def test_a_key_that_is_none_opens_and_seals_nothing(desk: Exchange, words: list[str]) -> None:
    file = desk.answer_file([])
    status, told, err = desk.run("key", *(word.format(file=file, folder=desk.folder) for word in words))
    assert (status, told, len(err.splitlines())) == (2, "", 1)
    assert not (desk.folder / "o.csv").exists()


def test_the_example_of_the_documentation_prints_what_it_says(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    document = (Path(__file__).parents[1] / "docs" / "exchange.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```python\n(.*?)```", document, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    exec(example, {})
    assert capsys.readouterr().out.splitlines() == re.findall(r"print\(.*\) +# (.*)", example)


def test_a_permit_number_is_sixteen_digits_there_and_back() -> None:
    numbers = np.array([0, 1, 0x0123456789ABCDEF, 2**64 - 1], np.uint64)
    lines = b"".join(bytes(row).hex().encode() + b"\n" for row in permit_column(numbers))
    assert lines.split()[2] == b"0123456789abcdef"
    found, ok = decode_permits(find_lines(lines))
    assert found.tolist() == numbers.tolist()
    assert ok.all()


def test_long_texts_take_no_more_room_than_they_need(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hub.files.tables.CELLS_BYTES_MAX", 1_000)
    sizes: list[int] = []
    encode: Callable[..., bytes] = tables.encode_csv

    def note(columns: list[list[str]], encoding: str) -> bytes:
        sizes.append(len(columns[0]) * max(map(len, columns[1])))
        return encode(columns, encoding)

    monkeypatch.setattr("hub.files.tables.encode_csv", note)
    texts = ["x" * (900 if row == 70 else 10) for row in range(200)]
    with TableWriter(tmp_path / "o.csv", ("row", "text")) as writer:
        writer.write([np.arange(200), texts])
    assert max(sizes) <= 1_000
    assert [row["text"] for row in read(tmp_path / "o.csv")] == texts
