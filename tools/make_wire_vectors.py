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
from hub.methods.copies import AnsweredCopy, AskedCopy
from hub.wire import words
from hub.wire.copying import SomeCopy
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
        *further_arguments(),
    ]  # fmt: skip
    found = []
    for name, given in calls:
        params = METHODS[name].params
        data = msgspec.msgpack.encode(REQUESTS[name](**{key: params[key].pack(one) for key, one in given.items()}))
        found.append({"method": name, "arguments": plain(msgspec.msgpack.decode(data)), "bytes": data.hex()})
    return found


def further_arguments() -> list[tuple[str, dict[str, Any]]]:
    """What is sent unasked, links, identifiers, lives, proxies, copies."""
    push = hub.Push(
        institution="131016", procedure="own/1/1", items=("出生",), role="本人", section="市民課",
        request_id="births-1", event="出生",
    )  # fmt: skip
    update = hub.Update(institution="131016", section="税務課", request_id="tax-2026-2", reason="誤り")
    by_alias = hub.Update(institution="131016", section="税務課", request_id="tax-2026-3", items=("市町村民税",))
    notice = hub.Notice(institution="131016", subject="児童手当", section="子育て支援課", request_id="notice-1")
    two = {"clerk": "sato", "second_clerk": "suzuki", "reason": "two codes of one person"}
    codes = ["00000000017", "00000000025"]
    return [
        ("push", {"push": push, "aliases": ALIASES, "receivers": "nenkin", "payloads": [b"<birth/>", None]}),
        ("update", {"update": update, "permits": [1, 2**63], "payloads": [b"<tax/>", None]}),
        ("update", {"update": by_alias, "permits": ALIASES, "payloads": [{"nenkin": b"<tax/>"}, None]}),
        ("taken", {"numbers": [1, 2**63]}),
        ("notify", {"notice": notice, "aliases": ALIASES, "texts": "お知らせ"}),
        ("notify", {"notice": notice, "aliases": ALIASES, "texts": ["一", "二"]}),
        ("claim", {"tickets": ALIASES, "sealed": [bytes(8), bytes(9)], "clerk": "sato"}),
        ("replace_links", {"tickets": ALIASES, "aliases": ALIASES, "clerk": "sato", "reason": "行ずれ",
                           "keep_old": np.array([True, False])}),
        ("register_identifiers", {"namespace": "jpki-auth", "people": codes, "identifiers": ["0017", b"0025"]}),
        ("register_identifiers", {"namespace": "mykey", "people": ALIASES, "identifiers": ["a", "b"], "again": True}),
        ("renew_identifiers", {"namespace": "jpki-auth", "old": ["0017"], "new": ["0018"]}),
        ("merge", {"keep": codes[0], "gone": codes[1], **two}),
        ("deaths", {"aliases": ALIASES, "days": dt.date(2026, 11, 1), "born": [dt.date(1950, 1, 1), None]}),
        ("deaths", {"aliases": codes, "days": [dt.date(2026, 11, 1), dt.date(2026, 11, 2)]}),
        ("report_mislink", {"wrong_alias": bytes(range(16)), **two, "since": dt.date(2026, 4, 1), "deliberate": True}),
        ("grant_proxy", {"portal_alias": bytes(range(16)), "agent_alias": bytes(16), "kind": hub.ProxyKind.STATUTORY,
                         "label": "母", "called": "子", "until": dt.date(2030, 4, 1)}),
        ("copy_of", {"role": "provider", "since": dt.date(2026, 4, 1)}),
    ]  # fmt: skip


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


def further_replies(column: Any) -> list[tuple[str, Any]]:
    """What comes of the further arguments."""
    about = hub.Arrived(
        kind=Kind.PUSH, sender="131016", sender_name="札幌市", on_behalf_of=None, procedure="own/1/1", items=("出生",),
        role="本人", section="市民課", reference_date=None, event="出生", legal_basis="運営者の規則",
    )  # fmt: skip
    arrivals = hub.Arrivals(
        about, ALIASES, column([1, 2**63], np.uint64), [b"<birth/>", None], [None, bytes(18)], 1_796_482_800, "00ff"
    )
    sent = hub.Sent(
        request_id="births-1", rows=2, received_at=1_795_856_400, status=column([0, 9]), reason=column([0, 0])
    )
    asked = AskedCopy(
        bytes(16), 0, 1_795_856_400, ALIASES, column([0, 0]), column([0, 0]), column([9, 14]), column([0, 0])
    )
    answered = AnsweredCopy(
        column([1, 2**63], np.uint64), ALIASES, column([9, 10]), column([0, 0]), column([1_795_791_600] * 2, np.int64)
    )
    proxy = hub.Proxy(
        handle=bytes(16), kind=hub.ProxyKind.STATUTORY, state=hub.ProxyState.IN_FORCE, label="母", until=None,
        granted_at=MOMENT,
    )  # fmt: skip
    return [
        ("push", sent),
        ("arrived", [arrivals]),
        ("acquired", hub.Acquired(ALIASES, column([0, 1]))),
        ("acquired", hub.Acquired(ALIASES, column([0, hub.Acquisition.HELD]), column([0, hub.Differs.NAME]))),
        ("claims", hub.Claims(ALIASES, [bytes(8), None], None)),
        ("identify", hub.Identified(ALIASES, column([0, 1]))),
        ("deaths", hub.Deaths(told=2, corrected=0, known=1)),
        ("closed", hub.Closed(aliases=ALIASES, upto=12)),
        ("successions", {"131016": ("131024", dt.date(2026, 4, 1))}),
        ("proxies", [proxy]),
        ("copy_of", SomeCopy([asked], None)),
        ("copy_of", SomeCopy([answered], bytes(8))),
    ]


def make_vectors() -> str:
    """The file's text."""
    made = {"frames": make_frames(), "arguments": make_arguments(), "replies": make_replies()}
    return json.dumps(made, ensure_ascii=False, indent=1) + "\n"


if __name__ == "__main__":
    PATH.write_text(make_vectors(), encoding="utf-8")
