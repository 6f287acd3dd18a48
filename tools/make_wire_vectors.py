"""Write tests/data/wire_vectors.json: frames, arguments and replies of the wire with their bytes.

    python tools/make_wire_vectors.py

Values are JSON, with ``{"hex": ...}`` for bytes and ``{"time": seconds}`` for a timestamp. The same code writes the
same file; a difference is a change of the protocol, which needs another version.
"""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

import hub
from hub.messages import Answers, Kind, Status
from hub.wire import words
from hub.wire.faults import AccessError, fault_of
from hub.wire.frames import GREETING, encode_frame
from hub.wire.methods import METHODS, REQUESTS
from hub.wire.results import HistoryBody, ProofBody, SomeAnswers

PATH = Path(__file__).parents[1] / "tests" / "data" / "wire_vectors.json"

ALIASES = np.arange(32, dtype=np.uint8).reshape(2, 16)
MOMENT = dt.datetime(2026, 11, 28, 9, 0, tzinfo=dt.UTC)


def plain(value: Any) -> Any:
    """What MessagePack carries, as JSON."""
    if isinstance(value, bytes):
        return {"hex": value.hex()}
    if isinstance(value, dt.datetime):
        return {"time": int(value.timestamp())}
    if isinstance(value, list):
        return [plain(one) for one in value]
    if isinstance(value, dict):
        # JSON has no keys but texts; those of numbers are marked.
        return {key if isinstance(key, str) else f"#{key}": plain(one) for key, one in value.items()}
    return value


def make_frames() -> list[dict[str, Any]]:
    """One frame of each kind."""
    status = msgspec.msgpack.encode(REQUESTS["status"](request_id="tax-2026"))
    busy = hub.errors.BusyError("call: too many bytes in flight", retry_after_s=1.0)
    text = "permits: expected ones that wait, got one that was answered in row 3"
    rows = hub.errors.RowsError(text, rows=[3], cause="answered")
    revoked = AccessError("certificate: expected one that stands, got one that was revoked")
    unknown = hub.errors.RequestError("request_id: expected one of the last 30 days, got an unknown one")
    made = [
        ("hello", words.Hello([1], "example/1"), GREETING),
        ("welcome", words.Welcome(1, 1 << 20, 256, ["131016", "131024"]), GREETING),
        ("refused before the welcome", fault_of(None, "", revoked), GREETING),
        ("call", words.Call(7, "nenkin", "status", False, len(status), memoryview(status)), 1),
        ("call in parts, first", words.Call(8, "nenkin", "status", False, len(status), memoryview(status[:10])), 1),
        ("call in parts, last", words.Part(8, memoryview(status[10:])), 1),
        ("reply", words.Reply(7, 1, memoryview(b"\xc0")), 1),
        ("error", fault_of(7, "", unknown), 1),
        ("busy", fault_of(8, "", busy), 1),
        ("error of rows", fault_of(9, "", rows), 1),
        ("progress", words.Progress(7, 65_536), 1),
        ("closing", words.Closing("server: closing"), 1),
    ]  # fmt: skip
    found = []
    for name, word, version in made:
        data = bytes(encode_frame(word, version))
        found.append(
            {"name": name, "version": version, "message": plain(msgspec.msgpack.decode(data[5:])), "frame": data.hex()}
        )
    return found


def make_arguments() -> list[dict[str, Any]]:
    """Arguments of some calls."""
    inquiry = hub.Inquiry(
        requester="nenkin", procedure="19-8/73/75.3", items=("市町村民税",), role="納付義務者", section="国民年金部",
        request_id="tax-2026", reference_date=dt.date(2026, 1, 1),
    )  # fmt: skip
    calls: list[tuple[str, dict[str, Any]]] = [
        ("inquire", {"inquiry": inquiry, "aliases": ALIASES, "providers": "131016"}),
        ("inquire", {"inquiry": inquiry, "aliases": ALIASES, "providers": ["131016", "131024"],
                     "cases": ["A-1", None]}),
        ("collect", {"limit": 1_000}),
        ("provide", {"permits": [1, 2**63], "outcomes": Status.PROVIDED, "payloads": [b"<tax/>", None]}),
        ("provide", {"permits": [3], "outcomes": [Status.REFUSED], "reasons": [21]}),
        ("answers", {"request_id": "tax-2026", "first": 65_536}),
        ("deliver", {"tickets": ALIASES, "codes": ["00000000017", "00000000025"]}),
        ("withhold", {"handle": ("tax-2026", 17), "ground": "protected", "until": dt.date(2027, 4, 1)}),
        ("withhold", {"handle": bytes(range(18)), "ground": "protected", "until": dt.date(2027, 4, 1)}),
        ("push_holders", {"codes": ["00000000017"], "label": "市町村長", "institutions": "131016",
                          "since": dt.date(2026, 4, 1), "until": [None]}),
        ("history", {"portal_alias": bytes(range(16)), "since": dt.date(2026, 4, 1), "limit": 25}),
    ]  # fmt: skip
    found = []
    for name, given in calls:
        params = METHODS[name].params
        data = msgspec.msgpack.encode(REQUESTS[name](**{key: params[key].pack(one) for key, one in given.items()}))
        found.append({"method": name, "arguments": plain(msgspec.msgpack.decode(data)), "bytes": data.hex()})
    return found


def make_replies() -> list[dict[str, Any]]:
    """What some calls come to."""
    column = lambda values, kind=np.uint8: np.array(values, kind)  # noqa: E731
    receipt = hub.Receipt(request_id="tax-2026", rows=2, received_at=1_795_856_400)
    asked = hub.PermitInquiry(
        requester="nenkin", requester_name="日本年金機構", on_behalf_of=None, procedure="19-8/73/75.3",
        items=("市町村民税",), role="納付義務者", section="国民年金部", reference_date=None,
        legal_basis="番号法19条8号",
    )  # fmt: skip
    permits = hub.Permits(
        asked, ALIASES, column([1, 2**63], np.uint64), column([False, True], np.bool_), column([0, 3], np.uint16),
        1_796_482_800, "00ff",
    )  # fmt: skip
    record = hub.Record(
        kind=Kind.INQUIRY, requested_at=MOMENT, provided_at=None, requester="nenkin", on_behalf_of=None,
        provider="131016", procedure="19-8/73/75.3", items=("市町村民税",), role="納付義務者", section="国民年金部",
        legal_basis="番号法19条8号", outcome=Status.OK, inquiry="0011223344556677", index=5,
    )  # fmt: skip
    proof = ProofBody(5, bytes(32), bytes(range(64)), "log\n6\nroot\n", bytes(16), b"\x90", bytes(48))

    answers = Answers(column([Status.PROVIDED, Status.PENDING]), column([0, 0]), [b"<tax/>", None], False)
    holders = {1: ("131016", "131024")}
    made: list[tuple[str, Any]] = [
        ("inquire", hub.Answer(column([0, 15]), column([7, 0], np.uint32), column([0, 0]), receipt, holders)),
        ("collect", [permits]),
        ("provide", receipt),
        ("answers", SomeAnswers(answers, True)),
        ("status", hub.RequestStatus(rows=2, chunks=1, chunks_done=1, received_at=1_795_856_400, complete=True)),
        ("tickets", ALIASES),
        ("withhold", None),
        ("checkpoints", [(MOMENT, "note"), (None, "note")]),
    ]  # fmt: skip
    found = [(name, METHODS[name].result.pack(value)) for name, value in made]
    found.append(("history", HistoryBody([record], "0a0b", "0c0d")))
    found.append(("history", HistoryBody([record], None, "0c0d", [proof])))
    return [
        {"method": name, "reply": plain(msgspec.msgpack.decode(data)), "bytes": data.hex()}
        for name, body in found
        for data in [msgspec.msgpack.encode(body)]
    ]


def make_vectors() -> str:
    """The file's text."""
    made = {"frames": make_frames(), "arguments": make_arguments(), "replies": make_replies()}
    return json.dumps(made, ensure_ascii=False, indent=1) + "\n"


if __name__ == "__main__":
    PATH.write_text(make_vectors(), encoding="utf-8")
