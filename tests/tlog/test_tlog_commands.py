"""``hub verify`` and ``hub tlog``: what they print, their statuses, and what they never repeat."""

from __future__ import annotations

import base64
import hashlib
import io
import re
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from memory_log import KEY, OTHER_KEY, MemoryLog, entries_of
from shared_fields import DISCLOSURE_KEY, OTHER_DISCLOSURE_KEY, prove_record

import hub
from hub.cli import main
from hub.tlog.entry import encode_extra
from hub.tlog.proof import Proof
from hub.tlog.tiles import Exported, export_tiles

VKEY = KEY.verifier_key
PAPER = hashlib.sha256(b"hub/paper/1" + prove_record().salt + prove_record().leaf).digest()[:16].hex(" ", 2)
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True)
def no_folder_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HUB_FOLDER", raising=False)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def run_command(*words: str | Path) -> tuple[int, str, str]:
        status = main([str(word) for word in words])
        return status, *capsys.readouterr()

    return run_command


@pytest.fixture
def proof(tmp_path: Path) -> Path:
    (tmp_path / "mine.key").write_text(DISCLOSURE_KEY.hex() + "\n")
    (tmp_path / "others.key").write_text(OTHER_DISCLOSURE_KEY.hex())
    (tmp_path / "log.key").write_text(VKEY + "\n")
    path = tmp_path / "record.tlog-proof"
    path.write_text(prove_record().text())
    return path


def test_a_proof_that_holds_is_spelled_out(run: Run, proof: Path) -> None:
    status, output, errors = run("verify", proof, "--key", VKEY)
    assert (status, errors) == (0, "")
    assert output.splitlines() == [
        "in the log: entry 41 of 100 in log.example.jp/records",
        "whose record it is was not asked",
        "2026-09-21 23:13:20 JST  nenkin (on behalf of 厚生労働大臣) asked institution number 101",
        "  about    市町村民税, of the 納付義務者",
        "  for      19-8/73/75.3, by 年金給付課",
        "  basis    国民年金法 75条3号",
        "  outcome  permitted",
        f"  leaf     {prove_record().leaf.hex()}",
        "  paper    " + PAPER.replace(" ", ""),
    ]


def test_what_a_paper_says_of_a_record_is_compared_with_the_proof(run: Run, proof: Path) -> None:
    for said in (PAPER, PAPER.replace(" ", ""), prove_record().leaf.hex()):
        status, output, _ = run("verify", proof, "--key", VKEY, "--paper", said)
        assert (status, output.splitlines()[-1]) == (0, "it is the record that the paper means")
    for said in (prove_record(number=1).leaf.hex(), "0" * 32):
        status, output, errors = run("verify", proof, "--key", VKEY, "--paper", said)
        assert (status, errors, output.count("\n")) == (1, "", 1)
        assert output.startswith("refused: paper: ")
    for said in ("", "xy", PAPER[:-2], prove_record().leaf.hex() + "00"):
        assert run("verify", proof, "--key", VKEY, "--paper=" + said)[0] == (2 if said else 0)


def test_the_key_may_stand_in_a_file_and_the_proof_come_from_stdin(
    run: Run, proof: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(proof.read_bytes())))
    assert run("verify", "-", "--key", proof.parent / "log.key")[0] == 0


def test_the_disclosure_key_says_whose_record_it_is(run: Run, proof: Path) -> None:
    status, output, _ = run("verify", proof, "--key", VKEY, "--disclosure-key", proof.parent / "mine.key")
    assert (status, output.splitlines()[1]) == (0, "it is about the person of the disclosure key")
    status, output, errors = run("verify", proof, "--key", VKEY, "--disclosure-key", proof.parent / "others.key")
    assert (status, errors) == (1, "")
    assert output.startswith("refused: subject: ")
    assert "another person" in output
    assert OTHER_DISCLOSURE_KEY.hex() not in output


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda text: text.replace("index 41", "index 40"), "the index was moved"),
        (lambda text: text[:200], "truncated"),
        (lambda text: text + "more\n", "trailing data"),
        (lambda text: "", "truncated"),
        (lambda text: "x" * 10**7, "at most"),
    ],
)
def test_a_refused_proof_is_one_line_with_its_reason_and_status_1(
    run: Run, proof: Path, change: Callable[[str], str], reason: str
) -> None:
    proof.write_text(change(proof.read_text()))
    status, output, errors = run("verify", proof, "--key", VKEY)
    assert (status, errors, output.count("\n")) == (1, "", 1)
    assert output.startswith("refused: ")
    assert reason in output


def with_record_of(other: Proof) -> Callable[[str], str]:
    """A proof that shows another record in its place."""

    def change(text: str) -> str:
        extra = base64.b64encode(encode_extra(other.salt, other.shared, other.row)).decode()
        return re.sub("^extra .*$", f"extra {extra}", text, flags=re.M)

    return change


def with_tree_of(other: Proof) -> Callable[[str], str]:
    """A proof that leads to another tree of the log's, signed by it."""
    return lambda text: text.replace(prove_record().checkpoint, other.checkpoint)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (with_record_of(prove_record(number=1)), "the record was changed or is another"),
        (with_record_of(prove_record(disclosure_key=OTHER_DISCLOSURE_KEY)), "the record was changed or is another"),
        (with_tree_of(prove_record(seed=1)), "the path is of another tree"),
        (with_tree_of(prove_record(size=300)), "another tree"),
    ],
)
def test_another_record_person_or_tree_is_refused_with_its_reason(
    run: Run, proof: Path, change: Callable[[str], str], reason: str
) -> None:
    sound = proof.read_text()
    proof.write_text(change(sound))
    assert proof.read_text() != sound
    for words in ((), ("--disclosure-key", proof.parent / "mine.key")):
        status, output, errors = run("verify", proof, "--key", VKEY, *words)
        assert (status, errors, output.count("\n")) == (1, "", 1)
        assert output.startswith("refused: ")
        assert reason in output


def test_a_file_cut_anywhere_is_refused_with_a_reason(run: Run, proof: Path) -> None:
    raw = proof.read_bytes()
    reasons = set()
    for length in range(len(raw)):
        proof.write_bytes(raw[:length])
        status, output, errors = run("verify", proof, "--key", VKEY)
        assert (status, errors, output.count("\n")) == (1, "", 1), length
        assert re.match("refused: .+: .+", output)
        reasons.add("truncated" in output)
    # Cut within a number, a name or UTF-8, what is there is something else; everywhere else the cut is seen.
    assert True in reasons


def test_an_exported_log_is_checked(run: Run, opened: MemoryLog, tmp_path: Path) -> None:
    target = tmp_path / "log"
    run("tlog", "export", "linkage", target)
    assert run("tlog", "check", target, "--key", VKEY) == (
        0, f"{target}: 300 entries of {KEY.origin}, every file fits\n", "",
    )  # fmt: skip
    (target / "tile" / "0" / "000").write_bytes(bytes(8192))
    assert run("tlog", "check", target, "--key", VKEY) == (
        1, "refused: tile/0/000: expected the hashes of the entries below it, got others\n", "",
    )  # fmt: skip
    assert run("tlog", "check", tmp_path / "none", "--key", VKEY)[0] == 2


def test_another_logs_key_is_a_refusal(run: Run, proof: Path) -> None:
    assert run("verify", proof, "--key", OTHER_KEY.verifier_key)[0] == 1


def test_a_wrong_command_line_is_one_line_and_status_2(run: Run, proof: Path) -> None:
    short = proof.parent / "short.key"
    short.write_text(DISCLOSURE_KEY.hex()[:-1])
    for words in (
        [], [proof], [proof, "--key", "a+b+c"], [proof, "--key", proof], [proof.parent / "missing", "--key", VKEY],
        [proof, "--key", VKEY, "--disclosure-key", short], [proof, "--key", VKEY, "--disclosure-key", "missing"],
    ):  # fmt: skip
        status, output, errors = run("verify", *words)
        assert (status, output, errors.count("\n")) == (2, "", 1), words
        assert DISCLOSURE_KEY.hex()[:-1] not in errors


def test_a_folder_is_handed_on(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module: Any = types.ModuleType("hub.commands.check")
    module.verify_folder = lambda arguments: 1 if arguments.folder == str(tmp_path) else 9
    monkeypatch.setitem(sys.modules, "hub.commands.check", module)
    assert run("verify", tmp_path)[0] == 1
    monkeypatch.setenv("HUB_FOLDER", str(tmp_path))
    assert run("verify")[0] == 1


class LogOnly:
    """The part of a hub that the commands use, over a log in memory."""

    verifier_key = VKEY

    def __init__(self, log: MemoryLog) -> None:
        self.log = log

    def __enter__(self) -> LogOnly:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def checkpoint(self) -> str:
        return self.log.checkpoint

    def export_tiles(self, folder: str, *, progress: Callable[[int], None] | None = None) -> Exported:
        return export_tiles(self.log, folder, progress=progress)


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> MemoryLog:
    log = MemoryLog(entries_of(300))
    monkeypatch.setattr(hub, "open", lambda folder, readonly: LogOnly(log))
    return log


def test_key_and_checkpoint_are_printed_as_they_are(run: Run, opened: MemoryLog) -> None:
    assert run("tlog", "key", "linkage") == (0, VKEY + "\n", "")
    assert run("tlog", "checkpoint", "linkage") == (0, opened.checkpoint, "")


def test_export_says_what_is_new(run: Run, opened: MemoryLog, tmp_path: Path) -> None:
    target = tmp_path / "log"
    assert run("tlog", "export", "linkage", target) == (
        0, f"{target}: 300 entries, 300 of them new; 6 files written\n", "",
    )  # fmt: skip
    opened.append(entries_of(301)[300:])
    assert run("tlog", "export", "linkage", target)[1] == f"{target}: 301 entries, 1 of them new; 3 files written\n"
    assert "301 of 301 rows" in run("tlog", "export", "linkage", tmp_path / "other", "--progress")[2]
    (tmp_path / "other" / "checkpoint").write_text("x")
    assert run("tlog", "export", "linkage", tmp_path / "other")[0] == 2


@pytest.mark.parametrize("command", ["verify", "tlog", "tlog export", "tlog check", "tlog key", "tlog checkpoint"])
def test_every_command_has_help_with_an_example(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([*command.split(), "--help"])
    output = capsys.readouterr().out
    assert f"hub {command}" in output
    assert "Example" in output
