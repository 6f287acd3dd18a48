"""What a server writes down of itself: fields that a machine reads, and nothing of anybody."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from both import Both
from served import Network, Served, Wires, plain_config
from test_every_method import PLAYS
from test_metrics import METRICS, scrape
from test_serve import Process

import hub
from hub.errors import RequestError, StorageError
from hub.messages import Reason, Status
from hub.wire.config import Log
from hub.wire.ledger import SMALL, TOLD_PER_S, Ledger
from hub.wire.logs import close_log, open_log
from hub.wire.methods import METHODS
from hub.wire.quotas import Quotas
from inquiries import tax_inquiry
from parties import Parties

ALL = Log(level="debug", slow_s=1e-9, slow_bulk_s=1e-9)


@pytest.fixture
def lines(tmp_path: Path) -> Iterator[Any]:
    """What was written so far."""
    level = logging.getLogger().level
    handler = open_log(msgspec.structs.replace(ALL, file=str(tmp_path / "own.log")))
    try:
        yield lambda: [json.loads(line) for line in (tmp_path / "own.log").read_text().splitlines()]
    finally:
        close_log(handler)
        logging.getLogger().setLevel(level)


def of_calls(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [line for line in found if line["logger"] == "hub.calls"]


def test_a_process_writes_one_line_for_what_it_does(tmp_path: Path) -> None:
    network = Network(tmp_path / "network")
    with Parties(tmp_path / "hub") as parties:
        town = parties.town
    extra = '[log]\nfile = "hub.log"\nslow_s = 1e-9\n[metrics]\nlisten = "127.0.0.1:0"\n'
    process = Process(parties.folder, network, town, extra)
    try:
        with process.connect() as h:
            h.inquire(tax_inquiry("secret-id"), parties.nenkin[:2], town)
            with pytest.raises(RequestError):
                h.status("nenkin", "another-id")
        stranger = network.authority.issue("stranger")
        with pytest.raises(hub.errors.HubError):
            hub.connect(process.address, cert=stranger.cert, key=stranger.key, ca=network.authority.ca)
    finally:
        assert process.end() == 0
    text = (tmp_path / "hub.log").read_text()
    found = [json.loads(line) for line in text.splitlines()]
    what = [line["what"] for line in found]
    assert what[0] == "started"
    assert what[-2:] == ["stopping", "stopped"]
    assert found[-1]["calls"] == 2
    (slow,) = [line for line in found if line["what"] == "slow call"]
    assert (slow["method"], slow["institution"], slow["code"], slow["rows"]) == ("inquire", "nenkin", "ok", 2)
    assert slow["ms"] > 0
    (failed,) = [line for line in found if line["what"] == "failed call"]
    assert (failed["method"], failed["institution"], failed["code"]) == ("status", "nenkin", "request")
    (refused,) = [line for line in found if line["logger"] == "hub.security"]
    assert (refused["what"], refused["level"], refused["peer"]) == ("certificate refused", "warning", "127.0.0.1")
    assert all(set(line) >= {"at", "level", "logger", "what"} for line in found)
    assert "secret-id" not in text
    assert "another-id" not in text


def test_lines_go_to_standard_error_where_no_file_is_named(tmp_path: Path, network: Network) -> None:
    with Parties(tmp_path / "hub") as parties:
        town = parties.town
    process = Process(parties.folder, network, town)
    process.process.terminate()
    assert process.process.wait(40) == 0
    assert process.process.stderr is not None
    found = [json.loads(line)["what"] for line in process.process.stderr.read().splitlines()]
    assert found == ["started", "stopping", "stopped"]
    process.process.stderr.close()
    assert process.process.stdout is not None
    process.process.stdout.close()


def test_a_flood_of_failed_calls_leaves_few_lines_and_their_number(parties: Parties, lines: Any) -> None:
    served = Served(parties.h, plain_config(["nenkin", parties.town]))
    wires = Wires(served.port)
    try:
        assert served.server is not None
        account = served.server.calls.ledger.quotas.account("nenkin")
        for number in range(100):
            wires.call(number, "nenkin", "status", {"request_id": "unknown"})
        assert all(wires.read()[:1] == [6] for _ in range(100))
        # At most two seconds' lines here; on a slow machine more seconds.
        told = of_calls(lines())
        assert TOLD_PER_S <= len(told) < 100
        account.told_at -= 1
        wires.call(100, "nenkin", "status", {"request_id": "unknown"})
        wires.read()
        told = of_calls(lines())
        assert sum(line.get("left_out", 0) for line in told) == 101 - len(told)
    finally:
        wires.close()
        served.stop()


def test_what_fails_leaves_the_places_and_no_value(
    parties: Parties, lines: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = Served(parties.h, plain_config(["nenkin", parties.town]))

    def fail(self: Any, institution: str) -> None:
        raise KeyError("00000000017 is in it")

    monkeypatch.setattr(hub.Hub, "suspended", fail)
    try:
        with hub.connect(served.address, institution="nenkin") as h, pytest.raises(StorageError, match="KeyError"):
            h.suspended("nenkin")
    finally:
        served.stop()
    found = [line for line in lines() if "error" in line]
    assert [line["error"] for line in found] == ["KeyError"]
    assert any("fail" in place for place in found[0]["places"])
    assert "00000000017" not in json.dumps(lines())


def test_a_log_that_cannot_be_opened_is_said(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"log .*: No such file or directory"):
        open_log(Log(file=str(tmp_path / "missing" / "hub.log")))


PLAYED = (
    "inquire", "provide", "release", "deliver", "withhold", "history", "grant_proxy", "push", "deaths",
)  # fmt: skip


@pytest.mark.parametrize("name", PLAYED)
def test_neither_logs_nor_metrics_name_anybody(name: str, tmp_path: Path, network: Network, lines: Any) -> None:
    """What institutions do is played with everything written down: no alias, code, request id, ticket or clerk."""
    secrets: set[str] = set()
    with Parties(tmp_path / "hub", 12) as parties:
        codes = ["nenkin", "portal", "jlis", *(body.code for body in parties.h.catalog.institutions("市町村長")[:6])]
        served = Served(parties.h, network.config(codes, metrics=METRICS, log=ALL))
        with network.connect(served) as remote:
            both = Both(parties, Noted(remote, secrets))
            PLAYS[name](both)
        _, metrics = scrape(served)
        served.stop()
        for column in (parties.nenkin, parties.known, parties.portal):
            secrets |= {alias.tobytes().hex() for alias in column}
        secrets |= set(parties.codes)
    found = lines()
    assert of_calls(found)
    text = json.dumps(found, ensure_ascii=False) + metrics
    assert len(secrets) > 40
    assert [secret for secret in secrets if re.search(rf"(?<![\w-]){re.escape(secret)}(?![\w-])", text)] == []
    for line in of_calls(found):
        assert set(line) <= {
            "at", "level", "logger", "what", "code", "method", "institution", "ms", "rows", "left_out"
        }  # fmt: skip
        assert line["method"] in METHODS
        assert line["institution"] in codes
    labels = set(re.findall(r'="([^"]*)"', metrics))
    named = {*codes, *METHODS, *(one.name for one in Status), *(one.name for one in Reason)}
    assert {one for one in labels - named if not re.fullmatch(r"[a-z_]+|\+Inf|[0-9.e+-]+", one)} == set()


class Noted:
    """A client that notes what it was given and got: texts and bytes that no log may have."""

    def __init__(self, remote: Any, secrets: set[str]) -> None:
        self._remote, self._secrets = remote, secrets

    def __getattr__(self, name: str) -> Any:
        member = getattr(self._remote, name)
        if not callable(member):
            return member

        def call(*args: Any, **kwargs: Any) -> Any:
            for value in [*args, *kwargs.values()]:
                self._note(value)
            result = member(*args, **kwargs)
            self._note(result)
            return result

        return call

    def _note(self, value: Any, depth: int = 0) -> None:
        if depth > 4:
            return
        if isinstance(value, bytes) and len(value) >= 8:
            self._secrets.add(value.hex())
        elif hasattr(value, "dtype"):
            if value.ndim == 2 and value.shape[1] == 16:
                self._secrets |= {one.tobytes().hex() for one in value}
            elif value.dtype.kind in "iu" and value.dtype.itemsize == 8 and value.ndim == 1:
                self._secrets |= {str(one) for one in value.tolist() if one > 1 << 32}
        elif isinstance(value, dict):
            for one in value.values():
                self._note(one, depth + 1)
        elif isinstance(value, list | tuple):
            for one in value:
                self._note(one, depth + 1)
        elif isinstance(value, msgspec.Struct):
            for field in ("request_id", "operator", "text", "section"):
                word = getattr(value, field, None)
                if isinstance(word, str) and word:
                    self._secrets.add(word)


def test_single_inquiries_that_are_taken_together_leave_a_line_for_all_of_them(
    parties: Parties, lines: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = Served(parties.h, plain_config(["nenkin", parties.town]))
    assert served.server is not None
    served.server.calls.ledger.slow_s = 1e-9
    try:
        with hub.connect(served.address, institution="nenkin") as h:
            h.inquire(tax_inquiry("a"), parties.nenkin[:1], parties.town)
            with pytest.raises(RequestError, match="first used with"):
                h.inquire(tax_inquiry("a"), parties.nenkin[1:2], parties.town)
    finally:
        served.stop()
    told = [line for line in of_calls(lines()) if line["method"] == "inquire"]
    assert [(line["what"], line["code"], line["institution"], line["rows"]) for line in told][:1] == [
        ("slow call", "ok", "nenkin", 1)
    ]
    assert ("failed call", "request", "nenkin", 1) in [
        (line["what"], line["code"], line["institution"], line["rows"]) for line in told
    ]


def test_a_failure_of_the_hubs_own_says_why_though_its_caller_has_gone(lines: Any) -> None:
    ledger = Ledger(Quotas({}, 1 << 20, lambda: 0.0))
    for code, error in {
        "one": StorageError("records: expected whole ones, got half"), "two": ValueError("words of a stranger"),
        "three": RequestError("status: expected one that is known, got another"), "four": None,
    }.items():  # fmt: skip
        account = ledger.quotas.account(code)
        account.begin()
        ledger.end(account, "status", error, 0.0, 1, SMALL)
    told = {line["institution"]: line for line in of_calls(lines())}
    assert {code: (line["level"], line.get("cause")) for code, line in told.items()} == {
        "one": ("error", "records: expected whole ones, got half"),
        "two": ("error", "ValueError"),
        "three": ("info", None),
        "four": ("warning", None),
    }


def test_single_inquiries_that_fail_together_say_why(
    parties: Parties, lines: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise StorageError("records: expected room, got none")

    served = Served(parties.h, plain_config(["nenkin", parties.town]))
    try:
        with hub.connect(served.address, institution="nenkin", timeout=20) as h:
            h.inquire(tax_inquiry("a"), parties.nenkin[:1], parties.town)
            monkeypatch.setattr(parties.h, "inquire_rows", fail)
            with pytest.raises(StorageError, match="expected room"):
                h.inquire(tax_inquiry("b"), parties.nenkin[:1], parties.town)
    finally:
        served.stop()
    (failed,) = [line for line in of_calls(lines()) if line["what"] == "failed call"]
    assert (failed["code"], failed["rows"], failed["cause"]) == ("storage", 1, "records: expected room, got none")
