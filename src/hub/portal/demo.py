"""``hub portal --demo``: a hub, a stand-in for sign-in and the portal on this machine, with invented people and a year.

The hub's clock is set back a year, institutions ask and answer as in life, then it goes on with the time of day. All is
in one folder that goes at the end.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import logging
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import uvicorn
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from joserfc import jwk

import hub
from hub.catalog.moments import JAPAN
from hub.errors import RequestError
from hub.portal.app import make_server, run_server
from hub.portal.config import Alerts, Config, HubSide, Own, SignIn, Smtp
from hub.portal.demoown import Answerers, Screen, ask_with_consent, prepare_own
from hub.portal.links import Links, who_of
from hub.portal.standin import Character, StandIn
from hub.portal.web import Portal
from hub.server import Server
from hub.wire.config import Config as HubConfig
from hub.wire.config import Plain

LIFE_DAYS = 333
LAW_FROM = dt.datetime(2026, 6, 27, tzinfo=JAPAN).timestamp()
"""Before the shipped Order is in force everything is denied: the year is as long as it has been."""

ACR, CLIENT = "card", "demo"
DAY_S, HOUR_S = 86_400, 3_600
START_S = 20.0

CHILD_BORN = f"{dt.date.today().year - 10}-05-05"

PEOPLE = [
    Character("hanako", "番号 花子", "一年に何度も照会された人 / asked about often", {"birthdate": "1991-07-20"}),
    Character("mother", "番号 松子", "花子の母 / Hanako's mother", {"birthdate": "1964-02-11"}),
    Character("taro", "番号 太郎", "一度も照会されていない子 / a child, never asked about", {"birthdate": CHILD_BORN}),
]


class DemoClock:
    """A clock that is moved by hand, faster or slower, until it is let go."""

    def __init__(self, now: float, pace: float = 1.0) -> None:
        self.now: float | None = now
        self.pace = pace

    def __call__(self) -> float:
        return time.time() if self.now is None else self.now

    def move(self, seconds: float) -> None:
        """Later, or nothing once it goes by itself."""
        if self.now is not None:
            self.now += seconds * self.pace


class Life:
    """What institutions did about the invented people in a year."""

    def __init__(self, h: hub.Hub, clock: DemoClock) -> None:
        self.h, self.clock = h, clock
        self.codes = [f"{10**9 + 7 * n:011}" for n in range(len(PEOPLE))]
        self.home, self.old_home = (body.code for body in h.catalog.institutions("市町村長")[11:13])
        self.prefecture = h.catalog.institutions("都道府県知事")[0].code
        bodies = ("portal", "nenkin", self.home, self.old_home, "moj", self.prefecture)
        self.aliases = {code: h.acquire(code, self.codes).aliases for code in bodies}
        self._asked = 0

    def ask(self, requester: str, provider: str, procedure: str, item: str, role: str, section: str, who: int) -> None:
        """One question about one person."""
        self._asked += 1
        inquiry = hub.Inquiry(
            requester=requester, procedure=procedure, items=(item,), role=role, section=section,
            request_id=f"demo-{self._asked}",
        )  # fmt: skip
        self.h.inquire(inquiry, np.ascontiguousarray(self.aliases[requester][who : who + 1]), provider)

    def answer(self, provider: str, outcome: hub.Status = hub.Status.PROVIDED) -> None:
        """A body answers what it is asked."""
        for permits in self.h.collect(provider):
            payloads = [b"<data/>"] * len(permits) if outcome == hub.Status.PROVIDED else None
            self.h.provide(provider, permits, outcome, payloads)

    def live(self) -> None:
        """The year."""
        h, move = self.h, self.clock.move
        pension = ("nenkin", self.home, "19-8/73/75.3", "市町村民税", "納付義務者", "国民年金部")
        allowance = (self.home, self.old_home, "19-8/106/108.1", "市町村民税", "一般受給資格者", "こども家庭課")
        for month in range(11):
            self.ask(*pension, 0)
            move(5 * HOUR_S)
            if month % 4 != 3:
                self.answer(self.home, hub.Status.EMPTY if month == 5 else hub.Status.PROVIDED)
            move(9 * DAY_S)
            if month % 3 == 0:
                self.ask(*allowance, 0)
                self.ask(*allowance, 1)
                move(26 * HOUR_S)
                self.answer(self.old_home)
            if month in (2, 7):
                self.ask("nenkin", "moj", "19-8/30/32.1", "戸籍", "申請者", "国民年金部", 0)
            if month == 8:
                self.ask(self.home, self.prefecture, *allowance[2:], 0)
            move(20 * DAY_S)
        notice = hub.Notice(
            institution=self.home, subject="児童手当の現況届について", section="こども家庭課", request_id="demo-notice"
        )
        text = "現況届の提出は、6月30日までにお願いします。\n届出がないと、6月分からの手当を受けられません。".encode()
        h.notify(notice, np.ascontiguousarray(self.aliases[self.home][:2]), text)
        move(2 * DAY_S)
        self.ask(*pension, 0)
        move(HOUR_S)
        self.answer(self.home)
        self.correct()

    def correct(self) -> None:
        """One record is asked to be corrected, and the institution decides."""
        alias = self.aliases["portal"][0]
        page = self.h.history(alias, limit=100)
        record = [one for one in page.records if one.kind == hub.Kind.INQUIRY][-1]
        text = "この時期は別の市に住んでいました。照会先が違うのではありませんか。"
        self.h.ask_correction(alias, record, text, disclosed=page.disclosure)
        self.clock.move(3 * DAY_S)
        for one in self.h.corrections("nenkin"):
            if one.kind == hub.Kind.CORRECTION_ASKED:
                self.h.correct(one.handle, "転入日を確認しました。照会先は正しいものでした。", "国民年金部",
                               institution="nenkin", accepted=False)  # fmt: skip


class DemoHub:
    """The hub, served in a thread of its own."""

    def __init__(self, h: hub.Hub, institutions: Sequence[str] = ("portal",)) -> None:
        self._h, self._institutions = h, list(institutions)
        self.address = ""
        self._ready, self._loop = threading.Event(), asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._serve(),), daemon=True)
        self._thread.start()
        if not self._ready.wait(START_S):
            raise RequestError("demo: the hub did not start")

    async def _serve(self) -> None:
        server = Server(self._h, HubConfig(folder="", listen="127.0.0.1:0", plain=Plain("demo", self._institutions)))
        await server.start()
        self.address = server.address
        self._ready.set()
        await self._stop.wait()
        await server.stop()

    def stop(self) -> None:
        """Stop serving."""
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(START_S)


@contextmanager
def serve_in_thread(server: uvicorn.Server, sock: socket.socket) -> Iterator[None]:
    """Serve until the block ends."""
    thread = threading.Thread(target=server.run, kwargs={"sockets": [sock]}, daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.should_exit = True
        thread.join(START_S)


def make_key(path: Path) -> Any:
    """A key for ``private_key_jwt`` in a file; returns its public half."""
    key = ec.generate_private_key(ec.SECP256R1())
    path.touch(0o600)
    path.write_bytes(key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ))  # fmt: skip
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return jwk.import_key(public, "EC")


@contextmanager
def demo(
    folder: Path, port: int = 0, say: Callable[[str], None] = lambda text: None
) -> Iterator[tuple[str, uvicorn.Server, socket.socket]]:
    """Everything but the portal's own loop: (address, server, its socket); ``say`` is told what mails would say.

    Raises:
        OSError: the port is taken.
    """
    sock = socket.create_server(("127.0.0.1", port))
    outside = socket.create_server(("127.0.0.1", 0))
    address = f"http://localhost:{sock.getsockname()[1]}"
    issuer = f"http://localhost:{outside.getsockname()[1]}"
    now = time.time()
    begin = max(now - LIFE_DAYS * DAY_S, LAW_FROM)
    clock = DemoClock(begin, (now - begin) / (LIFE_DAYS * DAY_S))
    with hub.open(folder / "hub", create=True, clock=clock) as h:
        own_key = prepare_own(h, folder)
        life = Life(h, clock)
        life.live()
        ask_with_consent(h, life.home, life.old_home, life.aliases[life.home][:1])
        clock.now = None
        h.export_tiles(folder / "public")
        public = make_key(folder / "signin.key")
        links = Links(folder / "portal.sqlite")
        for one, alias in zip(PEOPLE, life.aliases["portal"], strict=True):
            links.put(who_of(issuer, one.sub), alias.tobytes())
        links.close()
        provider = StandIn(issuer, CLIENT, public, address + "/signin/back", ACR, PEOPLE)
        served = DemoHub(h)
        config = Config(
            listen=f"127.0.0.1:{sock.getsockname()[1]}", address=address, links=str(folder / "portal.sqlite"),
            hub=HubSide(served.address),
            signin=SignIn(issuer, CLIENT, str(folder / "signin.key"), [ACR], birth_claim="birthdate"),
            tlog=str(folder / "public"), own=Own([own_key]),
            alerts=Alerts("no-reply@localhost.localdomain", Smtp("localhost", tls="none")),
        )  # fmt: skip
        # The last one, who was never asked about, has nothing anywhere.
        bodies = (life.home, life.old_home, "nenkin")
        answerers = Answerers(h, {code: {one.tobytes() for one in life.aliases[code][:-1]} for code in bodies})
        stand_in = uvicorn.Server(uvicorn.Config(provider.app(), access_log=False, log_config=None, ws="none"))
        try:
            with serve_in_thread(stand_in, outside):
                yield address, make_server(Portal(config, time.time, Screen(say))), sock
        finally:
            answerers.stop()
            served.stop()


def run_demo(port: int, say: Callable[[str], None] = print) -> int:
    """Serve the demo until Ctrl-C or SIGTERM.

    Raises:
        RequestError: the port is taken.
    """
    say("Inventing a year of three people who do not exist ...")
    return run_site_demo(
        "portal", port, lambda folder: demo(folder, port, say),
        lambda address: say(f"\n  {address}\n\nSign in as one of them. Ctrl-C ends it, and everything is gone."),
    )  # fmt: skip


def run_site_demo(
    name: str, port: int, begin: Callable[[Path], AbstractContextManager[tuple[str, uvicorn.Server, socket.socket]]],
    ready: Callable[[str], None],
) -> int:  # fmt: skip
    """Serve a site's demo, of a folder that goes with it, until Ctrl-C or SIGTERM; ``ready`` is told its address.

    Raises:
        RequestError: the port is taken.
    """
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory(prefix=f"hub-{name}-") as folder:
        try:
            with begin(Path(folder)) as (address, server, sock):
                ready(address)
                run_server(server, [sock])
        except OSError as error:
            raise RequestError(f"demo: port {port}: {error.strerror or error}") from None
    return 0
