"""The command line on real folders: results, statuses, what is refused and what is never repeated."""

import csv
import io
import json
import os
import re
import secrets
import shlex
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import hub
from commandlist import commands_of
from hub.cli import main, make_parser
from hub.commands.inquire import ID_CHARS_MAX
from hub.files.columns import Choices
from hub.files.tables import TableWriter
from hub.limits import ROWS_PER_CHUNK

CITY, OTHER_CITY, PREFECTURE = "131016", "131024", "130001"
QUESTION = [
    "--requester", "nenkin", "--procedure", "19-8/73/75.3", "--item", "市町村民税", "--role", "納付義務者",
]  # fmt: skip
CODES = [f"000{i:08d}" for i in range(50)]
ALLOWING_RULE = next(r for r in hub.Catalog.japan().rules if r.procedure == "19-8/73/75.3" and r.detail == "市町村民税")

Run = tuple[int, str, str]


@pytest.fixture(autouse=True)
def no_folder_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HUB_FOLDER", raising=False)


class Desk:
    """A folder with a hub in which the agency knows 50 people and two cities 30 and 10 of them."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder, self.capsys = folder, capsys
        self.hub = str(folder / "linkage")
        assert self.run("init", self.hub)[0] == 0
        self.aliases = self.acquire("nenkin", CODES)
        self.city = self.acquire(CITY, CODES[:30])
        self.acquire(OTHER_CITY, CODES[40:])

    def run(self, *words: str | Path) -> Run:
        """One command: its status, output and errors."""
        self.capsys.readouterr()
        status = main([str(word) for word in words])
        out, err = self.capsys.readouterr()
        return status, out, err

    def acquire(self, institution: str, codes: list[str]) -> list[str]:
        source, result = self.folder / f"{institution}.csv", self.folder / f"{institution}-aliases.csv"
        source.write_text("code\n" + "".join(f"{code}\n" for code in codes))
        status, _, _ = self.run("acquire", self.hub, institution, source, "--out", result)
        assert status == 0
        return [line["alias"] for line in read(result)]

    def ask(self, rows: list[str], name: str = "ask.csv", encoding: str = "utf-8") -> Path:
        path = self.folder / name
        path.write_text("alias,provider\n" + "".join(f"{row}\n" for row in rows), encoding=encoding)
        return path

    def inquire(self, source: Path, request_id: str = "tax", *more: str | Path) -> Run:
        out = ("--section", "年金課", "--id", request_id, "--out", self.folder / "answers.csv")
        return self.run("inquire", self.hub, source, *QUESTION, *out, *more)

    def records_of(self, code: str) -> list[hub.Record]:
        with hub.open(self.hub) as h:
            return h.history(h.acquire("portal", [code]).aliases).records


def read(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def desk(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Desk:
    return Desk(tmp_path, capsys)


# Acquire


def test_acquire_gives_row_alias_status_and_no_code(desk: Desk) -> None:
    rows = read(desk.folder / "nenkin-aliases.csv")
    assert list(rows[0]) == ["row", "alias", "status"]
    assert [row["row"] for row in rows] == [str(i) for i in range(1, 51)]
    assert {row["status"] for row in rows} == {"CREATED"}
    assert len({row["alias"] for row in rows}) == 50
    text = (desk.folder / "nenkin-aliases.csv").read_text()
    assert not any(code in text for code in CODES)
    assert stat.S_IMODE((desk.folder / "nenkin-aliases.csv").stat().st_mode) == 0o600


def test_acquire_again_gives_the_same_aliases(desk: Desk) -> None:
    assert desk.acquire("nenkin", CODES) == desk.aliases
    assert {row["status"] for row in read(desk.folder / "nenkin-aliases.csv")} == {"ALREADY"}


def test_acquire_sets_lines_of_the_wrong_shape_apart(desk: Desk) -> None:
    source, out = desk.folder / "codes.csv", desk.folder / "sub" / "aliases.csv"
    out.parent.mkdir()
    source.write_text(f"code\n{CODES[0]}\n123\n{CODES[0]}\n{CODES[1]},x\n")
    status, told, err = desk.run("acquire", desk.hub, "nenkin", source, "--out", out)
    assert status == 1
    assert err == ""
    assert "2 lines rejected" in told
    assert [row["row"] for row in read(out)] == ["1", "3"]
    assert [row["alias"] for row in read(out)] == [desk.aliases[0]] * 2
    assert read(out.parent / "codes.rejected.csv") == [
        {"line": "3", "cause": "code: expected 11 digits"},
        {"line": "5", "cause": "wrong number of columns"},
    ]
    assert "123" not in told


# Inquire


def test_answers_stand_in_the_order_of_the_file(desk: Desk) -> None:
    unknown = "ab" * 16
    rows = [
        f"{desk.aliases[3].upper()},{CITY}", f"{unknown},{CITY}", f"{desk.aliases[35]},{CITY}",
        f"{desk.aliases[4]},{PREFECTURE}",
        f"{desk.aliases[45]},{OTHER_CITY}", f"{desk.aliases[3]},{CITY}",
    ]  # fmt: skip
    status, told, err = desk.inquire(desk.ask(rows))
    assert status == 1, "a row was denied"
    assert err == ""
    answers = read(desk.folder / "answers.csv")
    assert list(answers[0]) == ["row", "alias", "provider", "status", "rule", "reason"]
    assert [(a["row"], a["alias"], a["provider"]) for a in answers] == [
        (str(i), *row.lower().split(",")) for i, row in enumerate(rows, 1)
    ]
    statuses = [a["status"] for a in answers]
    assert statuses == ["OK", "UNKNOWN_ALIAS", "NO_ALIAS_AT_PROVIDER", "DENIED", "OK", "OK"]
    assert answers[0]["rule"] == str(ALLOWING_RULE.rule)
    assert [a["reason"] for a in answers if a["status"] == "DENIED"] == ["PROVIDER"]
    assert re.search(r"3\s+OK\s+permitted", told)
    assert len(desk.records_of(CODES[3])) == 2


def test_an_inquiry_without_denials_ends_with_0(desk: Desk) -> None:
    assert desk.inquire(desk.ask([f"{desk.aliases[0]},{CITY}", f"{'0' * 32},{CITY}"]))[0] == 0


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp932"])
def test_files_in_either_encoding_are_read(desk: Desk, encoding: str) -> None:
    source = desk.folder / "ask.csv"
    source.write_text(f"alias,provider,case\n{desk.aliases[0]},{CITY},申請 第①号\n", encoding=encoding)
    assert desk.inquire(source)[0] == 0
    assert desk.inquire(source, "other", "--encoding", encoding)[0] == 0
    assert [a["status"] for a in read(desk.folder / "answers.csv")] == ["OK"]


def test_rejected_lines_are_named_and_never_repeated(desk: Desk) -> None:
    bad = desk.aliases[1][:-1] + "x"
    source = desk.ask([f"{desk.aliases[0]},{CITY}", f"{bad},{CITY}", f"{desk.aliases[2]},999999", desk.aliases[3]])
    status, told, err = desk.inquire(source)
    assert status == 1
    assert [a["row"] for a in read(desk.folder / "answers.csv")] == ["1"]
    assert read(desk.folder / "ask.rejected.csv") == [
        {"line": "3", "cause": "alias: expected 32 hex digits"},
        {"line": "4", "cause": "provider: no institution of the catalog has this code"},
        {"line": "5", "cause": "wrong number of columns"},
    ]
    assert bad not in told + err + (desk.folder / "ask.rejected.csv").read_text()


def test_a_file_of_rejected_lines_only_gives_an_empty_result(desk: Desk) -> None:
    assert desk.inquire(desk.ask(["x,y"]))[0] == 1
    assert read(desk.folder / "answers.csv") == []


def test_the_same_id_and_file_records_nothing_twice(desk: Desk) -> None:
    source = desk.ask([f"{alias},{CITY}" for alias in desk.aliases[:20]])
    desk.inquire(source)
    first = read(desk.folder / "answers.csv")
    assert desk.inquire(source)[0] == 0
    assert read(desk.folder / "answers.csv") == first
    assert len(desk.records_of(CODES[3])) == 1


def test_the_same_id_with_another_file_is_refused_and_leaves_the_result(desk: Desk) -> None:
    desk.inquire(desk.ask([f"{alias},{CITY}" for alias in desk.aliases[:20]]))
    first = (desk.folder / "answers.csv").read_bytes()
    status, told, err = desk.inquire(desk.ask([f"{alias},{CITY}" for alias in desk.aliases[:19]]))
    assert (status, told) == (2, "")
    assert len(err.splitlines()) == 1
    assert (desk.folder / "answers.csv").read_bytes() == first


def test_the_same_id_with_a_longer_file_is_refused_and_records_nothing(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hub.commands.inquire.PART_ROWS", 10)
    rows = [f"{alias},{CITY}" for alias in desk.aliases[:20]]
    assert desk.inquire(desk.ask(rows[:10]))[0] == 0
    before = desk.run("stats", desk.hub, "--json")[1]
    # Its first part is the same as before.
    status, _, err = desk.inquire(desk.ask(rows))
    assert (status, err.count("\n")) == (2, 1)
    assert "request_id" in err
    assert desk.run("stats", desk.hub, "--json")[1] == before
    assert desk.inquire(desk.ask(rows[:10]))[0] == 0


def test_the_list_of_rejected_lines_is_never_written_over(desk: Desk) -> None:
    source = desk.ask([f"{desk.aliases[0]},{CITY}", "no alias,131016"])
    codes = desk.folder / "codes.csv"
    codes.write_text("code\n00010000001\nx\n")
    question = (*QUESTION, "--section", "課", "--id", "x")
    for words in (("acquire", desk.hub, "nenkin", codes), ("inquire", desk.hub, source, *question)):
        name = "codes.rejected.csv" if words[0] == "acquire" else "ask.rejected.csv"
        status, _, err = desk.run(*words, "--out", desk.folder / name)
        assert (status, err.count("\n")) == (2, 1)
        assert name in err
        assert not (desk.folder / name).exists()


def test_an_empty_id_is_refused(desk: Desk) -> None:
    assert desk.inquire(desk.ask([f"{desk.aliases[0]},{CITY}"]), "")[0] == 2


def test_status_finds_whose_request_it_is(desk: Desk) -> None:
    assert desk.inquire(desk.ask([f"{desk.aliases[0]},{CITY}"]), "mine")[0] == 0
    status, told, _ = desk.run("status", desk.hub, "mine")
    assert status == 0
    assert "request mine of nenkin" in told
    assert "1 of 1 chunks durable: complete" in told
    assert desk.run("status", desk.hub, "mine", "--requester", "131016")[0] == 2


def test_stats_count_the_request_ids(desk: Desk) -> None:
    desk.inquire(desk.ask([f"{alias},{CITY}" for alias in desk.aliases]))
    assert json.loads(desk.run("stats", desk.hub, "--json")[1])["requests_bytes"] > 0


def test_hub_bench_is_the_bench(desk: Desk) -> None:
    status, told, _ = desk.run("bench", "list")
    assert status == 0
    assert "resolve" in told


def test_an_id_is_made_up_and_printed_where_none_is_given(desk: Desk) -> None:
    source = desk.ask([f"{desk.aliases[0]},{CITY}"])
    out = desk.folder / "answers.csv"
    status, told, err = desk.run("inquire", desk.hub, source, *QUESTION, "--section", "s", "--out", out)
    assert status == 0
    request_id = err.strip().removeprefix("request id ")
    assert request_id in told
    assert desk.run("status", desk.hub, request_id)[0] == 0


def test_a_large_file_goes_in_parts_under_ids_of_their_own(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hub.commands.inquire.PART_ROWS", 7)
    source = desk.ask([f"{alias},{CITY}" for alias in desk.aliases[:16]])
    assert desk.inquire(source)[0] == 0
    assert [a["row"] for a in read(desk.folder / "answers.csv")] == [str(i) for i in range(1, 17)]
    status, told, _ = desk.run("status", desk.hub, "tax")
    assert status == 0
    assert re.findall(r"tax\.000(\d)\s+(\d+)\s", told) == [("0", "7"), ("1", "7"), ("2", "2")]
    assert "3 of 3 chunks durable: complete" in told
    with hub.open(desk.hub, readonly=True) as h:
        assert h.status("nenkin", "tax.0002").rows == 2


def test_arrow_and_parquet_go_in_and_out(desk: Desk) -> None:
    pa = pytest.importorskip("pyarrow")
    from pyarrow import feather, parquet

    table = pa.table({"alias": desk.aliases[:3], "provider": [CITY, CITY, PREFECTURE]})
    parquet.write_table(table, desk.folder / "ask.parquet")
    feather.write_feather(table, desk.folder / "ask.arrow")
    for suffix, read_back in (("parquet", parquet.read_table), ("arrow", feather.read_table)):
        out = desk.folder / f"answers.{suffix}"
        command = ["inquire", desk.hub, desk.folder / f"ask.{suffix}", *QUESTION, "--section", "s", "--id", suffix]
        assert desk.run(*command, "--out", out)[0] == 1
        rows = read_back(out).to_pydict()
        assert rows["alias"] == desk.aliases[:3]
        assert rows["status"] == ["OK", "OK", "DENIED"]
        assert rows["row"] == [1, 2, 3]


def test_check_judges_without_looking_up_or_recording(desk: Desk) -> None:
    source = desk.ask([f"{desk.aliases[0]},{CITY}"] * 3 + [f"{'0' * 32},{PREFECTURE}"] * 2 + ["x,y"])
    before = desk.run("stats", desk.hub, "--json")[1]
    for folder in ([desk.hub], []):
        status, told, _ = desk.run("inquire", *folder, source, *QUESTION, "--check")
        assert status == 1
        assert re.search(rf"3\s+OK\s+-\s+permitted\s+rule {ALLOWING_RULE.rule}, 番号法19条8号", told)
        assert re.search(r"2\s+DENIED\s+PROVIDER\s+", told)
        assert "1 lines would be rejected" in told
    assert desk.run("stats", desk.hub, "--json")[1] == before
    assert desk.run("inquire", desk.ask([f"{desk.aliases[0]},{CITY}"]), *QUESTION, "--check")[0] == 0


def test_ctrl_c_stops_at_a_durable_chunk_and_the_printed_command_goes_on(desk: Desk) -> None:
    # Many people in small parts, so that there is something to interrupt.
    count = 60_000
    codes = [f"0001{i:07d}" for i in range(count)]
    aliases = desk.acquire("nenkin", codes)
    desk.acquire(CITY, codes)
    source = desk.ask([f"{alias},{CITY}" for alias in aliases])
    out = desk.folder / "answers.csv"
    program = (
        "import hub.commands.inquire as i, hub.cli, time, sys\n"
        "i.PART_ROWS = 500\n"
        "send = i.send_part\n"
        "i.send_part = lambda *a: (send(*a), print('part', file=sys.stderr, flush=True), time.sleep(0.02))[0]\n"
        "sys.exit(hub.cli.main(sys.argv[1:]))\n"
    )
    words = ["inquire", desk.hub, str(source), *QUESTION, "--section", "年 金", "--id", "stop", "--out", str(out)]
    process = subprocess.Popen([sys.executable, "-c", program, *words], stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    for _ in range(3):
        assert process.stderr.readline() == "part\n"
    process.send_signal(signal.SIGINT)
    err = process.stderr.read()
    assert process.wait(timeout=60) == 130
    process.stderr.close()
    assert not out.exists()
    assert [p.name for p in desk.folder.iterdir() if p.name.startswith(".answers")] == []
    command = shlex.split(err.splitlines()[-1])
    assert command == ["hub", *words]

    status, told, _ = desk.run("status", desk.hub, "stop")
    assert status == 1
    assert "not complete, send it again to go on" in told
    done = len(re.findall(r"stop\.\d{4}", told))
    assert 3 <= done < count // 500
    # The rest, in the same parts.
    finished = subprocess.run(
        [sys.executable, "-c", program, *words], capture_output=True, text=True, check=False, timeout=120
    )
    assert finished.returncode == 0, finished.stderr
    assert [a["status"] for a in read(out)] == ["OK"] * count
    assert len(desk.records_of(codes[0])) == 1
    assert len(desk.records_of(codes[-1])) == 1


def test_ctrl_c_inside_a_part_stops_between_two_chunks(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    count = 3 * ROWS_PER_CHUNK + 5
    aliases = np.frombuffer(secrets.token_bytes(16 * count), np.uint8).reshape(-1, 16)
    source = desk.folder / "ask.csv"
    with TableWriter(source, ("alias", "provider")) as writer:
        writer.write([aliases, Choices(np.zeros(count, int), [CITY])])
    seen: list[int] = []

    def interrupt(self: object, rows: int) -> None:
        if rows:
            seen.append(rows)
            if len(seen) == 2:
                os.kill(os.getpid(), signal.SIGINT)
                time.sleep(0.01)

    with monkeypatch.context() as patch:
        patch.setattr("hub.commands.progress.Progress.__call__", interrupt)
        status, _, err = desk.inquire(source, "stop")
    assert status == 130
    assert "this command goes on where it stopped" in err
    status, told, _ = desk.run("status", desk.hub, "stop")
    assert status == 1
    assert "2 of at most 4 chunks durable: not complete, send it again to go on" in told
    assert desk.inquire(source, "stop")[0] == 0
    assert len(read(desk.folder / "answers.csv")) == count
    assert desk.run("status", desk.hub, "stop")[0] == 0


# History


def test_history_reads_like_a_sentence(desk: Desk) -> None:
    desk.inquire(desk.ask([f"{desk.aliases[3]},{CITY}"]))
    with hub.open(desk.hub) as h:
        alias = h.acquire("portal", [CODES[3]]).aliases.tobytes().hex()
    status, told, err = desk.run("history", desk.hub, "--alias", alias)
    assert (status, err) == (0, "")
    assert "日本年金機構 (on behalf of 厚生労働大臣) asked 東京都千代田区" in told
    for text in ("市町村民税", "納付義務者", "年金課", "国年法 保険料納付処分", "番号法19条8号", "permitted"):
        assert text in told
    assert "tax" not in told, "the request id belongs to the requester"

    status, told, _ = desk.run("history", desk.hub, "--alias", alias, "--json")
    (record,) = json.loads(told)["records"]
    assert record["requester"] == "nenkin"
    assert record["items"] == ["市町村民税"]

    out = desk.folder / "history.csv"
    assert desk.run("history", desk.hub, "--alias", alias, "--out", out, "--out-encoding", "cp932")[0] == 0
    assert "東京都千代田区" in out.read_text(encoding="cp932")

    for narrowed in (["--institution", OTHER_CITY], ["--until", "2020-01-01"], ["--procedure", "19-8/106/108.1"]):
        assert desk.run("history", desk.hub, "--alias", alias, *narrowed)[0] == 1
    for kept in (["--institution", CITY], ["--since", "2020-01-01"], ["--procedure", "19-8/73/75.3"]):
        assert desk.run("history", desk.hub, "--alias", alias, *kept)[0] == 0


def test_a_withheld_record_leaves_the_history_until_two_clerks_lift_it(desk: Desk) -> None:
    alias = desk.acquire("portal", [CODES[0]])[0]
    desk.inquire(desk.ask([f"{desk.aliases[0]},{CITY}"]))
    with hub.open(desk.hub) as h:
        handle = h.handles("nenkin", bytes.fromhex(desk.aliases[0]))[0][0].hex()
    look = ("history", desk.hub, "--alias", alias)
    assert desk.run(*look)[0] == 0
    mark = ("--handle", handle, "--ground", "shelter", "--until", "2030-01-01", "--clerk", "sato")
    assert desk.run("withhold", desk.hub, *mark)[0] == 0
    assert desk.run(*look)[0] == 1
    status, told, _ = desk.run("audit", desk.hub, "--waiting", "nenkin", "--by", "2030-01-01")
    assert status == 0
    assert handle in told
    assert "review" in told
    assert desk.run("audit", desk.hub, "--waiting", "nenkin", "--by", "2029-12-31")[0] == 1
    assert desk.run("lift", desk.hub, "--handle", handle, "--clerk", "sato")[0] == 1
    assert desk.run("lift", desk.hub, "--handle", handle, "--clerk", "sato")[0] == 2
    assert desk.run("lift", desk.hub, "--handle", handle, "--clerk", "suzuki")[0] == 0
    assert desk.run(*look)[0] == 0
    told = desk.run("audit", desk.hub)[1]
    assert [word for word in told.split() if word in ("WITHHELD", "LIFT_ASKED", "LIFTED")] == [
        "WITHHELD", "LIFT_ASKED", "LIFTED",
    ]  # fmt: skip


def test_flags_are_set_shown_and_taken_off_by_a_file_or_one_alias(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    people = desk.folder / "people.csv"
    people.write_text("alias\n" + "\n".join(desk.city[:3]) + "\n", encoding="utf-8")
    flag = ["flag", desk.hub, CITY]
    assert desk.run(*flag, "--aliases", people)[:2] == (1, "  3  none\n")
    status, out, err = desk.run(*flag, "--aliases", people, "--manual", "--withheld", "--clerk", "佐藤")
    assert (status, out, err) == (0, f"{CITY}: MANUAL, WITHHELD on for 3 aliases\n", "")
    monkeypatch.setattr("sys.stdin", io.StringIO(desk.city[0] + "\n"))
    assert desk.run(*flag, "--alias", "-", "--withheld", "--off")[0] == 0
    status, out, _ = desk.run(*flag, "--aliases", people)
    assert (status, out) == (0, "  1  MANUAL\n  2  MANUAL, WITHHELD\n")
    status, out, _ = desk.run("audit", desk.hub)
    assert [line.split()[4:5] + line.split()[-2:] for line in out.splitlines()[1:]] == [
        *[["FLAGGED", "MANUAL,", "WITHHELD"]] * 3, ["UNFLAGGED", CITY, "MANUAL"],
    ]  # fmt: skip
    assert not any(alias in out for alias in desk.city)


def test_flags_of_other_people_are_refused_and_nothing_is_changed(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hub.commands.flag.FLAGS_PER_CALL_MAX", 2)
    people = desk.folder / "people.csv"
    flag = ["flag", desk.hub, CITY, "--aliases", people]
    people.write_text("alias\n" + "\n".join([*desk.city[:4], desk.aliases[0]]) + "\n", encoding="utf-8")
    status, out, err = desk.run(*flag, "--manual")
    assert (status, out, err) == (2, "", "hub: aliases: expected this institution's own, got 1 others\n")
    people.write_text("alias\n" + "\n".join([*desk.city[:4], "zz"]) + "\n", encoding="utf-8")
    status, out, err = desk.run(*flag, "--manual")
    assert (status, out, err) == (2, "", f"hub: {people}: line 6: alias: expected 32 hex digits\n")
    assert desk.run("flag", desk.hub, CITY, "--alias", desk.city[0], "--off")[0] == 2
    assert desk.run("audit", desk.hub)[0] == 1
    people.write_text("alias\n" + "\n".join(desk.city) + "\n", encoding="utf-8")
    assert desk.run(*flag, "--manual")[0] == 0
    assert desk.run(*flag)[1] == f"  {len(desk.city)}  MANUAL\n"
    # As hub acquire wrote it, with rows and statuses.
    flag[-1] = desk.folder / f"{CITY}-aliases.csv"
    assert desk.run(*flag)[1] == f"  {len(desk.city)}  MANUAL\n"


def test_history_shows_a_correction_with_what_it_follows(desk: Desk) -> None:
    alias = desk.acquire("portal", [CODES[0]])[0]
    desk.inquire(desk.ask([f"{desk.aliases[0]},{CITY}"]))
    with hub.open(desk.hub) as h:
        handle = h.handles("nenkin", bytes.fromhex(desk.aliases[0]))[0][0].hex()
    decide = ("correct", desk.hub, "--handle", handle, "--reason", "another was meant", "--section", "課税課")
    assert desk.run(*decide)[0] == 0
    told = desk.run("history", desk.hub, "--alias", alias)[1]
    assert "follows  record 0, as record 1" in told
    assert "remark   another was meant" in told
    told = desk.run("history", desk.hub, "--alias", alias, "--json")[1]
    assert '"link": 0' in told
    assert "another was meant" in told
    out = desk.folder / "history.csv"
    assert desk.run("history", desk.hub, "--alias", alias, "--out", out)[0] == 0
    lines = read(out)
    assert [line["link"] for line in lines] == ["0", ""]
    assert "another was meant" in lines[0]["remark"]
    told = desk.run("audit", desk.hub, "--waiting", "pm")[1]
    assert "confirmation" in told


def test_history_takes_the_alias_from_stdin_and_pages(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    import io

    for i in range(3):
        desk.inquire(desk.ask([f"{desk.aliases[3]},{CITY}"]), f"tax{i}")
    with hub.open(desk.hub) as h:
        alias = h.acquire("portal", [CODES[3]]).aliases.tobytes().hex()
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{alias}\n"))
    status, told, _ = desk.run("history", desk.hub, "--alias", "-", "--limit", "2")
    assert status == 0
    assert told.count(" asked ") == 2
    cursor = told.strip().rpartition("--cursor ")[2]
    told = desk.run("history", desk.hub, "--alias", alias, "--cursor", cursor)[1]
    assert told.count(" asked ") == 1
    assert "--cursor" not in told


def test_history_hands_out_proofs_that_verify_without_the_hub(desk: Desk) -> None:
    desk.inquire(desk.ask([f"{desk.aliases[3]},{CITY}", f"{desk.aliases[4]},{CITY}"]))
    with hub.open(desk.hub) as h:
        mine, theirs = (bytes(alias).hex() for alias in h.acquire("portal", CODES[3:5]).aliases)
    here, there = desk.folder / "mine", desk.folder / "theirs"
    for alias, folder in ((mine, here), (theirs, there)):
        assert desk.run("history", desk.hub, "--alias", alias, "--proofs", folder)[0] == 0
    assert stat.S_IMODE((here / "disclosure.key").stat().st_mode) == 0o600
    (proof,) = here.glob("*.tlog-proof")
    words = ("verify", proof, "--key", here / "log.key", "--disclosure-key")
    assert desk.run(*words, here / "disclosure.key")[0] == 0
    assert desk.run(*words, there / "disclosure.key")[0] == 1


# Catalog


def test_catalog_finds_shows_and_lists(desk: Desk) -> None:
    status, told, _ = desk.run("catalog", "search", "児童手当")
    assert status == 0
    assert "19-8/106/108.1" in told
    assert desk.run("catalog", "search", "そんなものはない")[0] == 1
    assert "19-8/73/75.3" in desk.run("catalog", "search", "--requester", "nenkin", "--item", "地方税")[1]
    assert "市町村民税" in desk.run("catalog", "show", "19-8/73/75.3")[1]
    assert "19-8/73/75.3" in desk.run("catalog", "show", str(ALLOWING_RULE.rule))[1]
    assert desk.run("catalog", "check", "--folder", desk.hub)[0] == 0
    assert len(desk.run("catalog", "list", "institutions", "--class", "都道府県知事")[1].splitlines()) == 47
    assert "市町村長" in desk.run("catalog", "list", "classes")[1]


def test_catalog_import_changes_the_law_in_force_in_the_folder(desk: Desk) -> None:
    lists = ["catalog", "list", "institutions", "--folder", desk.hub]
    new = desk.folder / "new.csv"
    new.write_text("code,kind,prefecture,name\nnew-body,body,,新しい機構\n", encoding="cp932")
    status, told, _ = desk.run("catalog", "import", desk.hub, new, "--dry-run")
    assert status == 0
    assert "1 added (dry run" in told
    assert "new-body" not in desk.run(*lists)[1]
    assert desk.run("catalog", "import", desk.hub, new)[0] == 0
    assert "新しい機構" in desk.run(*lists)[1]
    assert desk.run("acquire", desk.hub, "new-body", desk.folder / "nenkin.csv", "--out", desk.folder / "o.csv")[0] == 0
    new.write_text("code,kind\n", encoding="cp932")
    status, _, err = desk.run("catalog", "import", desk.hub, new)
    assert status == 2
    assert len(err.splitlines()) == 1


# The folder and the command line itself


def test_init_again_changes_nothing(desk: Desk) -> None:
    before = desk.run("stats", desk.hub, "--json")[1]
    status, told, _ = desk.run("init", desk.hub)
    assert status == 0
    assert "nothing changed" in told
    assert desk.run("stats", desk.hub, "--json")[1] == before
    assert json.loads(before)["aliases"]["nenkin"] == 50


def test_init_refuses_a_folder_that_holds_something_else(desk: Desk) -> None:
    other = desk.folder / "other"
    other.mkdir()
    (other / "letter.txt").write_text("dear")
    status, told, err = desk.run("init", other)
    assert status in (2, 3)
    assert told == ""
    assert len(err.splitlines()) == 1
    assert [p.name for p in other.iterdir()] == ["letter.txt"]


def test_the_folder_may_come_from_an_option_or_the_environment(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    assert desk.run("stats", "--folder", desk.hub)[0] == 0
    assert desk.run("stats")[0] == 2
    monkeypatch.setenv("HUB_FOLDER", desk.hub)
    assert desk.run("stats")[0] == 0
    out = desk.folder / "o.csv"
    assert desk.run("acquire", "nenkin", desk.folder / "nenkin.csv", "--out", out)[0] == 0
    assert desk.run("acquire", "--out", out)[0] == 2
    assert desk.run("acquire", "a", "b", "c", "d", "--out", out)[0] == 2


@pytest.mark.parametrize(
    "change",
    [
        ["--requester", "nobody"], ["--procedure", "19-8/0/0"], ["--item", "天気"], ["--role", "友人"],
        ["--section", ""], ["--section", "x" * 101], ["--id", "x" * (ID_CHARS_MAX + 1)], ["--out", "{ask}"],
        ["--out", "{folder}/none/answers.csv"], ["--reference-date", "yesterday"],
    ],
)  # fmt: skip
def test_a_wrong_question_is_one_line_and_records_nothing(desk: Desk, change: list[str]) -> None:
    source = desk.ask([f"{desk.aliases[3]},{CITY}"])
    content = source.read_bytes()
    words = [word.format(ask=source, folder=desk.folder) for word in change]
    status, told, err = desk.inquire(source, "tax", *words)
    assert (status, told) == (2, "")
    assert len(err.splitlines()) == 1
    assert err.startswith("hub: ")
    assert source.read_bytes() == content
    assert not (desk.folder / "answers.csv").exists()
    assert desk.records_of(CODES[3]) == []


@pytest.mark.parametrize(
    "words",
    [
        ["stats", "{folder}/none"], ["stats", "{folder}"],
        ["history", "{hub}", "--alias", "12"], ["status", "{hub}", "none"],
        ["acquire", "{hub}", "nobody", "{folder}/nenkin.csv", "--out", "{folder}/o.csv"],
        ["acquire", "{hub}", "nenkin", "{folder}/none.csv", "--out", "{folder}/o.csv"],
        ["history", "{hub}", "--alias", "0" * 32, "--since", "soon"],
        ["history", "{hub}", "--alias", "0" * 32, "--limit", "0"],
        ["history", "{hub}", "--alias", "0" * 32, "--limit", "1001"], ["catalog", "show", "0"],
    ],
)  # fmt: skip
def test_a_wrong_request_is_one_line_and_status_2(desk: Desk, words: list[str]) -> None:
    status, told, err = desk.run(*(word.format(hub=desk.hub, folder=desk.folder) for word in words))
    assert status == 2
    assert told == ""
    assert len(err.splitlines()) == 1
    assert err.startswith("hub: ")


def test_a_wrong_command_line_is_one_line_and_repeats_no_word(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["inquire"], ["stats", "x", "--bogus", "00112233445566778899aabbccddeeff"], ["nonsense"], []):
        with pytest.raises(SystemExit) as stop:
            main(words)
        assert stop.value.code == 2
        err = capsys.readouterr().err
        assert len(err.splitlines()) == 1
        assert "00112233445566778899aabbccddeeff" not in err


def test_every_command_has_help_with_an_example_and_its_statuses(capsys: pytest.CaptureFixture[str]) -> None:
    commands = ["init", "acquire", "inquire", "history", "withhold", "lift", "correct", "audit", "status", "stats"]
    commands += ["tickets", "deliver", "acquired", "reissue", "revoke"]
    commands += ["collect", "provide", "answers", *(f"key {c}" for c in ("new", "register", "seal", "open"))]
    commands += [f"catalog {c}" for c in ("search", "show", "check", "import", "list")]
    commands += ["verify", *(f"tlog {c}" for c in ("export", "key", "checkpoint"))]
    for command in commands:
        with pytest.raises(SystemExit) as stop:
            main([*command.split(), "--help"])
        assert stop.value.code == 0
        told = capsys.readouterr().out
        assert f"  hub {command}" in told
        assert "Exit status:" in told


def test_progress_is_shown_on_request_and_not_in_a_pipe(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    source = desk.ask([f"{desk.aliases[0]},{CITY}"])
    assert desk.inquire(source)[2] == ""
    assert "rows/s" in desk.inquire(source, "tax", "--progress")[2]


def test_a_folder_that_is_being_written_is_named(desk: Desk) -> None:
    with hub.open(desk.hub):
        script = "import sys; from hub.cli import main; sys.exit(main(sys.argv[1:]))"
        words = ["acquire", desk.hub, "nenkin", str(desk.folder / "nenkin.csv"), "--out", str(desk.folder / "o.csv")]
        done = subprocess.run([sys.executable, "-c", script, *words], capture_output=True, text=True, check=False)
        assert done.returncode == 2
        assert len(done.stderr.splitlines()) == 1
        assert desk.hub in done.stderr
        # Reading goes on beside the writer.
        words = ["stats", desk.hub]
        done = subprocess.run([sys.executable, "-c", script, *words], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


def test_python_m_hub_is_the_command_line() -> None:
    done = subprocess.run([sys.executable, "-m", "hub", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("hub ")


def test_a_command_that_is_made_alone_is_the_one_among_all() -> None:
    def helps(asked: str | None = None) -> dict[str, str]:
        return {words: parser.format_help() for words, parser in commands_of(make_parser(asked))}

    everything = helps()
    names = [name for name in everything if " " not in name]
    assert len(names) > 50
    for name in names:
        assert helps(name) == {words: text for words, text in everything.items() if words.split()[0] == name}
    assert helps("nobody") == everything
