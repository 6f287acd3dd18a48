"""Own data in the demo: the rules for it, a key, and institutions that answer what is asked while one looks; its mails.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import msgspec

import hub
from hub.errors import BusyError
from hub.messages import OWN_DATA, Aliases, Permits
from hub.portal.hubside import PORTAL
from hub.portal.outbox import Mail
from hub.portal.owndata import rule_files

ORDINANCE = """basis,row,article,number,requester,law,affair,procedure,provider,kind,detail,roles,copies
19-9,1,2,1,市町村長,子ども医療費助成条例,医療費の助成,子ども医療費助成の申請の審査,市町村長,地方税,市町村民税,保護者;同一世帯員,19-8/11/13.4
"""
EVERY_S = 0.5
END_S = 10.0

DATA: dict[str, dict[str, dict[str, str | int | None]]] = {
    "市町村民税": {
        "市町村民税": {"課税年度": "2026年度", "合計所得金額": 3_141_000, "市町村民税額": 120_400, "扶養人数": 0},
    },
    "住民票": {"住民票": {"世帯": "2人", "住民となった日": "2026-07-01", "続柄": "世帯主"}},
    "年金給付": {"年金給付": {"種類": "国民年金", "納付月数": 96, "免除月数": 12, "備考": None}},
}
"""What is answered of people who do not exist, by item; of the others and of any other item nothing."""


def prepare_own(h: hub.Hub, folder: Path) -> str:
    """Let the portal ask for own data, sealed to a new key; returns the key's file."""
    tables = rule_files()
    catalog = h.catalog.import_table(tables["own-classes.csv"], "classes")
    h.load_catalog(catalog.import_rules(tables["own-rules.csv"]))
    private, public = hub.new_payload_key()
    path = folder / "own.key"
    path.touch(0o600)
    path.write_bytes(private)
    h.register_key(PORTAL, public)
    return str(path)


def ask_with_consent(h: hub.Hub, requester: str, provider: str, alias: Aliases) -> None:
    """A town asks for an affair of its ordinance, and says that the person consented."""
    h.load_catalog(h.catalog.import_rules(ORDINANCE.encode()))
    inquiry = hub.Inquiry(
        requester=requester, procedure="19-9/1/2.1", items=("市町村民税",), role="保護者", section="こども家庭課",
        request_id="demo-ordinance",
    )  # fmt: skip
    h.inquire(inquiry, alias.copy(), provider, consents=True)


class Screen:
    """An outbox that shows mails instead of sending them."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say

    def send(self, mail: Mail) -> None:
        """Show it."""
        self._say(f"\nA mail that nobody sends:\n\n{mail.subject}\n\n{mail.text}")

    def close(self) -> None:
        """Nothing."""


class Answerers:
    """Institutions that look for questions about own data every half second, in a thread of their own.

    Args:
        known: of whom there is anything, by institution: aliases as bytes.
    """

    def __init__(self, h: hub.Hub, known: dict[str, set[bytes]]) -> None:
        self._h, self._known = h, known
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End it."""
        self._end.set()
        self._thread.join(END_S)

    def _run(self) -> None:
        while not self._end.wait(EVERY_S):
            for code, known in self._known.items():
                for permits in self._h.collect(code):
                    if permits.inquiry.procedure.startswith(OWN_DATA):
                        self._answer(code, permits, known)

    def _answer(self, code: str, permits: Permits, known: set[bytes]) -> None:
        data = DATA.get(permits.inquiry.items[0])
        key = self._h.payload_key(PORTAL)
        if key is None:
            return
        has = [data is not None and alias.tobytes() in known for alias in permits.aliases]
        outcomes = [hub.Status.PROVIDED if one else hub.Status.NO_RECORD for one in has]
        payloads = [hub.seal_payload(key, msgspec.msgpack.encode(data)) if one else None for one in has]
        try:
            self._h.provide(code, permits, outcomes, payloads)
        except BusyError:
            # It comes again the next time.
            return
