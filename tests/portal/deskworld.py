"""The desk of a town over real sockets: a hub, a stand-in for sign-in, two clerks and one of another section."""

from __future__ import annotations

import csv
import html
import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import uvicorn
from portalworld import token_of
from served import Network, Served

import hub
from hub.desk.app import make_server
from hub.desk.config import Config
from hub.desk.web import Desk
from hub.portal.config import HubSide, Limits, SignIn
from hub.portal.demo import ACR, CLIENT, make_key
from hub.portal.standin import Character, StandIn
from hub.protection.releases import _supervised
from parties import Parties

PENSION, ALLOWANCE = "19-8/73/75.3", "19-8/106/108.1"
TERMS = f"procedure,permit_days,providers_per_person_max,two_clerks\n{ALLOWANCE},7,3,1\n"
SECTION, ROLE = "こども家庭課", "一般受給資格者"
CLERKS = [
    Character("E7701", "佐藤", "", {"name": "佐藤", "section": SECTION}),
    Character("E7702", "鈴木", "", {"name": "鈴木", "section": SECTION}),
    Character("2001", "田中", "", {"name": "田中", "section": "税務課"}),
    Character("3001", "無名", "", {"name": "無名"}),
]


class Thread:
    """A server until it is stopped."""

    def __init__(self, server: uvicorn.Server, sock: socket.socket) -> None:
        self._server = server
        self._thread = threading.Thread(target=server.run, kwargs={"sockets": [sock]}, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(20)
        assert not self._thread.is_alive()


class DeskWorld:
    """Resident ``R-n`` is person n; ``town`` is the desk's institution, ``other`` is asked by it."""

    def __init__(
        self, folder: Path, network: Network, parties: Parties, *, institution: str | None = None,
        limits: Limits | None = None, tickets: Path | None = None, residents: Path | None = None,
        agency: Path | None = None, people: list[Character] | None = None,
        config: Callable[[Config], Config] | None = None, hub_timeout_s: float = 60.0,
    ) -> None:  # fmt: skip
        self.parties, self.h, self.folder, self.network = parties, parties.h, folder, network
        self.town, self.other = institution or parties.town, parties.other_town
        self.aliases = parties.h.acquire(self.town, parties.codes).aliases
        self.others = parties.h.acquire(self.other, parties.codes).aliases
        self.served = Served(parties.h, network.config([self.town]))
        outside, self.sock = socket.create_server(("127.0.0.1", 0)), socket.create_server(("127.0.0.1", 0))
        self.issuer = f"http://localhost:{outside.getsockname()[1]}"
        self.address = f"http://localhost:{self.sock.getsockname()[1]}"
        key = make_key(folder / "signin.key")
        provider = StandIn(self.issuer, CLIENT, key, self.address + "/signin/back", ACR, people or CLERKS)
        if residents is None and agency is None:
            residents = folder / "residents.csv"
            write_pairs(residents, "alias", [(f"R-{n}", alias.tobytes()) for n, alias in enumerate(self.aliases)])
        self.config = Config(
            listen="127.0.0.1:0", address=self.address, institution=self.town, book=str(folder / "desk.sqlite"),
            residents=None if residents is None else str(residents), agency=None if agency is None else str(agency),
            tickets=None if tickets is None else str(tickets), limits=limits or Limits(),
            hub=HubSide(
                self.served.address, network.client.cert, network.client.key, network.authority.ca, hub_timeout_s
            ),
            signin=SignIn(self.issuer, CLIENT, str(folder / "signin.key"), [ACR]),
        )  # fmt: skip
        if config is not None:
            self.config = config(self.config)
        self.desk = Desk(self.config, parties.clock)
        stand_in = uvicorn.Server(uvicorn.Config(provider.app(), access_log=False, log_config=None, ws="none"))
        self.threads = [Thread(stand_in, outside), Thread(make_server(self.desk), self.sock)]

    def stop(self) -> None:
        for one in reversed(self.threads):
            one.stop()
        self.served.stop()

    def browser(self) -> httpx.Client:
        """A browser that nobody has signed in with."""
        headers = {"Origin": self.address, "Accept-Language": "ja"}
        return httpx.Client(base_url=self.address, timeout=120, headers=headers)

    def sign_in(self, browser: httpx.Client, name: str) -> httpx.Response:
        """Sign in by the stand-in; returns where one comes back."""
        answer = browser.post("/signin")
        found = re.search(r'<a class="button" href="(http[^"]+)"', answer.text)
        assert found is not None, answer.text
        with httpx.Client(timeout=120, base_url=self.issuer) as outside:
            page = outside.get(html.unescape(found[1])).text
            ways = re.findall(r'<a href="(/chosen/[^"]+)">([^<]+)</a>', page)
            way = next(html.unescape(to) for to, one in ways if one == name)
            return browser.get(outside.get(way).headers["location"])

    @contextmanager
    def clerk(self, name: str) -> Iterator[httpx.Client]:
        """A browser with which a clerk is signed in."""
        with self.browser() as browser:
            answer = self.sign_in(browser, name)
            assert (answer.status_code, answer.headers.get("location")) == (303, "/"), answer.text
            yield browser

    def post(self, browser: httpx.Client, action: str, **fields: str) -> httpx.Response:
        """Send a form with a token of this session."""
        return browser.post(action, data={"csrf": token_of(browser.get("/report").text), **fields})

    def make(self, browser: httpx.Client, person: int, procedure: str = "", **more: str) -> str:
        """Make a question about a resident; returns its page."""
        page = browser.get("/ask", params={"procedure": procedure or ALLOWANCE}).text
        once = re.search(r'name="once" value="([0-9a-f]{32})"', page)
        assert once is not None, page
        fields = {"once": once[1], "procedure": procedure or ALLOWANCE, "own_id": f"R-{person}",
                  "provider": self.other, self.item(procedure or ALLOWANCE): "1", "role": ROLE, **more}  # fmt: skip
        answer = self.post(browser, "/ask", **fields)
        assert answer.status_code == 303, answer.text
        return str(answer.headers["location"])

    def item(self, procedure: str) -> str:
        """The field of 市町村民税 in a procedure's form."""
        return f"item-{self.h.catalog.procedure(procedure).items.index('市町村民税')}"

    def ask_alone(self, browser: httpx.Client, person: int, provider: str = "", **more: str) -> str:
        """Ask by a procedure that takes one clerk; returns the question's page."""
        page = self.make(browser, person, ALONE, provider=provider or self.other, **more)
        assert self.post(browser, page + "/send").status_code == 303
        return page

    def answer(self, payload: bytes = b"<tax/>") -> None:
        """The other town provides."""
        for permits in self.h.collect(self.other):
            self.h.provide(self.other, permits, hub.Status.PROVIDED, [payload] * len(permits))
        self.parties.clock.now += 5


ALONE = "19-8/106/108.6"


def write_pairs(path: Path, column: str, pairs: list[tuple[str, bytes]]) -> None:
    """A CSV of own ids."""
    with path.open("w", encoding="utf-8", newline="") as file:
        lines = csv.writer(file)
        lines.writerow(("own_id", column))
        lines.writerows((own_id, raw.hex()) for own_id, raw in pairs)


def ask_the_town(world: DeskWorld, person: int, request_id: str) -> Any:
    """nenkin asks the desk's town about a person."""
    from inquiries import tax_inquiry

    alias = np.ascontiguousarray(world.parties.nenkin[person : person + 1])
    return world.h.inquire(tax_inquiry(request_id), alias, world.town)


def operator_of(h: hub.Hub, index: int) -> str | None:
    """Whom a record's supervisors read."""
    with h._store.snapshot() as snapshot:
        return _supervised(h._office.bodies(snapshot).read([index])[0]).operator
