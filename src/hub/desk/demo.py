"""``hub desk --demo``: a hub, a stand-in for sign-in and a town's desk on this machine, with invented people.

Another town answers what it is asked within a second. All is in one folder that goes at the end.
"""

from __future__ import annotations

import csv
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import uvicorn

import hub
from hub.desk.app import make_server
from hub.desk.config import Claims, Config
from hub.desk.contents import write_content
from hub.desk.web import Desk
from hub.portal.config import HubSide, SignIn
from hub.portal.demo import ACR, CLIENT, DemoHub, make_key, run_site_demo, serve_in_thread
from hub.portal.standin import Character, StandIn

ALLOWANCE = "19-8/106/108.1"
TERMS = f"procedure,permit_days,providers_per_person_max,two_clerks\n{ALLOWANCE},7,3,1\n"
SECTION = "こども家庭課"

CLERKS = [
    Character("1001", "佐藤 一", "こども家庭課の職員 / a clerk", {"name": "佐藤 一", "section": SECTION}),
    Character("1002", "鈴木 二", "同じ課の職員 / another of the section", {"name": "鈴木 二", "section": SECTION}),
    Character("2001", "田中 三", "ほかの課の職員 / of another section", {"name": "田中 三", "section": "税務課"}),
]
RESIDENTS = ["R-0001", "R-0002", "R-0003"]
"""The third one is answered for by a clerk alone."""


class Town:
    """The town of the desk, the one it asks, and what happened before today."""

    def __init__(self, h: hub.Hub) -> None:
        self.h = h
        h.load_catalog(h.catalog.import_table(TERMS))
        self.home, self.other = (body.code for body in h.catalog.institutions("市町村長")[11:13])
        codes = [f"{10**9 + 7 * n:011}" for n in range(len(RESIDENTS))]
        self.aliases = {code: h.acquire(code, codes).aliases for code in ("nenkin", self.home, self.other, "portal")}
        h.flag(self.home, self.aliases[self.home][2:], hub.Flag.MANUAL)
        for n, who in enumerate((0, 2, 2)):
            inquiry = hub.Inquiry(
                requester="nenkin", procedure="19-8/73/75.3", items=("市町村民税",), role="納付義務者",
                section="国民年金部", request_id=f"demo-{n}",
            )  # fmt: skip
            h.inquire(inquiry, np.ascontiguousarray(self.aliases["nenkin"][who : who + 1]), self.home)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._answer, daemon=True)

    def write_residents(self, path: Path) -> None:
        """The town's own list."""
        with path.open("w", encoding="utf-8", newline="") as file:
            lines = csv.writer(file)
            lines.writerow(("own_id", "alias"))
            pairs = zip(RESIDENTS, self.aliases[self.home], strict=True)
            lines.writerows((own_id, alias.tobytes().hex()) for own_id, alias in pairs)

    @contextmanager
    def answering(self) -> Iterator[None]:
        """The other town answers until the block ends."""
        self._thread.start()
        try:
            yield
        finally:
            self._stop.set()
            self._thread.join(10)

    def _answer(self) -> None:
        while not self._stop.wait(0.5):
            for permits in self.h.collect(self.other):
                text = "課税標準額 2,184,000円(令和8年度)"
                payload = write_content(dict.fromkeys(permits.inquiry.items, text))
                self.h.provide(self.other, permits, hub.Status.PROVIDED, [payload] * len(permits))


@contextmanager
def demo(folder: Path, port: int = 0) -> Iterator[tuple[str, uvicorn.Server, socket.socket]]:
    """Everything but the desk's own loop: (address, server, its socket).

    Raises:
        OSError: the port is taken.
    """
    sock = socket.create_server(("127.0.0.1", port))
    outside = socket.create_server(("127.0.0.1", 0))
    address = f"http://localhost:{sock.getsockname()[1]}"
    issuer = f"http://localhost:{outside.getsockname()[1]}"
    with hub.open(folder / "hub", create=True) as h:
        town = Town(h)
        town.write_residents(folder / "residents.csv")
        provider = StandIn(
            issuer, CLIENT, make_key(folder / "signin.key"), address + "/signin/back", ACR, CLERKS
        )
        served = DemoHub(h, [town.home])
        config = Config(
            listen=f"127.0.0.1:{sock.getsockname()[1]}", address=address, institution=town.home,
            book=str(folder / "desk.sqlite"), residents=str(folder / "residents.csv"), hub=HubSide(served.address),
            signin=SignIn(issuer, CLIENT, str(folder / "signin.key"), [ACR]), claims=Claims(),
        )  # fmt: skip
        stand_in = uvicorn.Server(uvicorn.Config(provider.app(), access_log=False, log_config=None, ws="none"))
        try:
            with serve_in_thread(stand_in, outside), town.answering():
                yield address, make_server(Desk(config, time.time)), sock
        finally:
            served.stop()


def run_demo(port: int, say: Callable[[str], None] = print) -> int:
    """Serve the demo until Ctrl-C or SIGTERM.

    Raises:
        RequestError: the port is taken.
    """
    people = f"Sign in as one of the clerks; residents are {', '.join(RESIDENTS)}"
    return run_site_demo(
        "desk", port, lambda folder: demo(folder, port),
        lambda address: say(f"\n  {address}\n\n{people}; look for 児童手当 or child allowance. Ctrl-C ends it, and "
                            "everything is gone."),
    )  # fmt: skip
