"""Alerts by mail: what they say, to whom and when they go, and that none goes twice in a day, whatever dies."""

from __future__ import annotations

import asyncio
import os
import re
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx
import msgspec
import pytest
from mailserver import MailServer, text_of_mail
from portalworld import PortalWorld, only, text_of, token_of
from served import Network

from hub.errors import RequestError
from hub.messages import Flag
from hub.portal.alertstore import DAY_S, AlertStore
from hub.portal.config import Alerts, Config, check_config
from hub.portal.outbox import Mail, NotSentError, RefusedError, SmtpOutbox, UnsureError, is_address
from parties import REVIEW, Parties

SENDER = "no-reply@history.test"
HOUR_S = 3_600
PEOPLE = 20


@pytest.fixture
def context(network: Network) -> ssl.SSLContext:
    made = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    made.load_cert_chain(network.host.cert, network.host.key)
    return made


@pytest.fixture
def mails(context: ssl.SSLContext) -> Iterator[MailServer]:
    made = MailServer(context)
    yield made
    made.stop()


@pytest.fixture
def alerted(tmp_path: Path, network: Network, mails: MailServer) -> Iterator[PortalWorld]:
    """Persons 0 and 1 have mails; nothing is in anybody's history."""
    with Parties(tmp_path / "hub", PEOPLE) as parties:
        # Person 4 says of an old sign-in that it is this one.
        made = PortalWorld(
            tmp_path, network, parties, claims={4: {"auth_time": 1}},
            alerts=Alerts(SENDER, mails.config(network.authority.ca)),
        )  # fmt: skip
        yield made
        made.stop()


def run(world: PortalWorld) -> int:
    """What is due now, in the portal's loop."""
    alerts = world.portal.alerts
    assert alerts is not None
    assert alerts._task is not None
    return asyncio.run_coroutine_threadsafe(alerts.run_once(), alerts._task.get_loop()).result(60)


def note(world: PortalWorld) -> None:
    """Let the size of the log be noted as it is now."""
    world.parties.clock.now += HOUR_S + 1
    assert run(world) == 0


def later(world: PortalWorld, days: int = 1) -> int:
    """So many days in hours, with what is due then; returns how many mails went."""
    sent = 0
    for _ in range(24 * days):
        world.parties.clock.now += HOUR_S + 1
        sent += run(world)
    return sent


def request_address(world: PortalWorld, browser: httpx.Client, address: str) -> httpx.Response:
    return world.post(browser, "/alerts", "/alerts/address", address=address)


def way_of(page: httpx.Response) -> str:
    found = re.search(r'<a class="button" href="(http[^"]+)"', page.text)
    assert found is not None, page.text
    return found[1].replace("&amp;", "&")


def subscribe(world: PortalWorld, mails: MailServer, person: int, language: str = "ja") -> None:
    with world.signed_in(person, language) as browser:
        way = way_of(request_address(world, browser, f"person-{person}@mail.test"))
        answer = browser.get(world.back(way, f"sub-{person}"))
        assert answer.headers["location"] == "/alerts?done=sent"
    link = re.search(r"/alerts/confirm/\S+", text_of_mail(mails.mails.pop()))
    assert link is not None
    with world.browser(language) as anywhere:
        assert anywhere.post(link[0]).status_code in (200, 201)


def test_a_new_address_needs_a_fresh_sign_in_and_the_link_that_is_sent_there(
    alerted: PortalWorld, mails: MailServer
) -> None:
    store = AlertStore(alerted.config.links)
    alias = alerted.parties.portal[0].tobytes()
    with alerted.signed_in(0) as browser:
        assert "お知らせは送られません" in text_of(browser.get("/alerts").text)
        way = way_of(request_address(alerted, browser, "hanako@mail.test"))
        query = parse_qs(urlsplit(way).query)
        assert (query["prompt"], query["max_age"]) == (["login"], ["0"])
        assert mails.mails == []
        before = browser.cookies["__Host-session"]
        assert browser.get(alerted.back(way, "sub-0")).headers["location"] == "/alerts?done=sent"
        assert browser.cookies["__Host-session"] != before
        (mail,) = mails.mails
        assert mail["To"] == "hanako@mail.test"
        link = re.search(rf"{re.escape(alerted.address)}(/alerts/confirm/\S+)", text_of_mail(mail))
        assert link is not None
        assert store.find(alias) is None
        # Looking does nothing: mail servers follow links.
        for _ in range(2):
            assert browser.get(link[1]).status_code == 200
        assert store.find(alias) is None
        assert browser.post(link[1], headers={"Origin": "https://elsewhere.test"}).status_code == 403
        assert browser.post(link[1]).status_code in (200, 201)
        assert browser.post(link[1]).status_code == browser.get(link[1]).status_code == 404
        found = store.find(alias)
        assert found is not None
        assert (found.address, repr(found)) == ("hanako@mail.test", "Subscriber()")
        assert "hanako@mail.test" in browser.get("/alerts").text
        alerted.post(browser, "/alerts", "/alerts/off")
        assert store.find(alias) is None
    for name in ("portal.sqlite", "portal.sqlite-wal", "portal.sqlite-shm"):
        assert os.stat(alerted.folder / name).st_mode & 0o777 == 0o600
    store.close()


def confirmed(world: PortalWorld, mails: MailServer, browser: httpx.Client, person: int, address: str) -> None:
    """A person has mails sent to another address."""
    answer = browser.get(world.back(way_of(request_address(world, browser, address)), f"sub-{person}"))
    assert answer.headers["location"] == "/alerts?done=sent"
    link = re.search(r"/alerts/confirm/\S+", text_of_mail(mails.mails.pop()))
    assert link is not None
    assert browser.post(link[0]).status_code in (200, 201)


def test_the_old_address_is_told_that_it_was_changed_and_nothing_else(
    alerted: PortalWorld, mails: MailServer
) -> None:
    with alerted.signed_in(0) as browser:
        confirmed(alerted, mails, browser, 0, "old@mail.test")
        run(alerted)
        assert mails.mails == [], "a first address is no change"
        confirmed(alerted, mails, browser, 0, "old@mail.test")
        run(alerted)
        assert mails.mails == [], "nor is the same one again"
        # A server that is away now is asked again; one mail it is.
        mails.rcpt = "451 later"
        alerted.parties.clock.now += DAY_S
    with alerted.signed_in(0) as browser:
        mails.rcpt = None
        confirmed(alerted, mails, browser, 0, "new@mail.test")
        mails.rcpt = "451 later"
        run(alerted)
        assert mails.mails == []
        mails.rcpt = None
        for _ in range(2):
            run(alerted)
    (mail,) = mails.mails
    assert (mail["To"], mail["Subject"]) == ("old@mail.test", "宛先の変更のお知らせ")
    said = text_of_mail(mail).replace(alerted.address, "")
    assert not re.search(r"\d|new@|照会|件", said)
    assert text_of_mail(mail).startswith("お知らせの宛先が、このアドレスから別のアドレスに変更されました。")


def fill_queue(world: PortalWorld) -> list[str]:
    """Everybody's go to an address of theirs, as if each had followed a link."""
    store = AlertStore(world.config.links)
    for n in range(PEOPLE):
        alias = world.parties.portal[n].tobytes()
        assert store.put_confirmation(f"t{n}", alias, f"person-{n}@mail.test", "ja", 0, 3)
        assert store.confirm(f"t{n}", 0, 1)
    store.close()
    return [f"person-{n}@mail.test" for n in range(PEOPLE)]


def test_mails_go_eight_beside_each_other_and_each_once(alerted: PortalWorld, mails: MailServer) -> None:
    to = fill_queue(alerted)
    alerted.parties.ask("r", list(range(PEOPLE)))
    note(alerted)
    alerted.parties.clock.now += DAY_S + HOUR_S
    mails.hold = True
    alerts = alerted.portal.alerts
    assert alerts is not None
    assert alerts._task is not None
    runs = [asyncio.run_coroutine_threadsafe(alerts.run_once(), alerts._task.get_loop()) for _ in range(2)]
    until = time.monotonic() + 60
    while len(mails.mails) < 8 and time.monotonic() < until:
        time.sleep(0.01)
    time.sleep(0.2)
    assert len(mails.mails) == mails.open_most == 8, "the bound"
    mails.hold = False
    # Whoever else works off the same queue meanwhile sends none of these again.
    assert sum(one.result(60) for one in runs) == PEOPLE
    assert sorted(str(mail["To"]) for mail in mails.mails) == sorted(to)
    assert mails.open_most == 8


def test_who_comes_back_as_another_or_without_a_fresh_proof_changes_nothing(
    alerted: PortalWorld, mails: MailServer
) -> None:
    with alerted.signed_in(0) as browser:
        way = way_of(request_address(alerted, browser, "thief@mail.test"))
        answer = browser.get(alerted.back(way, "sub-1"))
        assert answer.status_code == 403
        assert "アドレスは変わっていません" in text_of(answer.text)
        # The way was good once.
        assert browser.get(alerted.back(way_of(browser.post("/signin")), "sub-0")).headers["location"] == "/history"
    with alerted.signed_in(4) as browser:
        way = way_of(request_address(alerted, browser, "thief@mail.test"))
        assert browser.get(alerted.back(way, "sub-4")).status_code == 403
    assert mails.mails == []


@pytest.mark.parametrize(
    "address",
    ["", "a", "a@b", "a@b.c\nBcc: d@e.fr", "a@b.jp, c@d.jp", "<a@b.jp>", "あ@b.jp", "a b@c.jp", "a@-b.jp",
     "x" * 250 + "@b.jp", "a@b.jp>\r\nRCPT TO:<c@d.jp"],
    ids=range(11),
)  # fmt: skip
def test_what_is_no_address_is_refused(address: str) -> None:
    assert not is_address(address)
    assert is_address("hanako.+a..b@mail.example.co.jp")


def test_a_wrong_address_or_another_sites_form_begins_nothing(alerted: PortalWorld) -> None:
    with alerted.signed_in(0) as browser:
        wrong = request_address(alerted, browser, "a@b.jp\nBcc: c@d.jp")
        assert wrong.status_code == 400
        assert "メールアドレスを確かめてください" in text_of(wrong.text)
        assert browser.post("/alerts/address", data={"address": "a@b.jp"}).status_code == 403
        assert browser.post("/alerts/off", data={}).status_code == 403
    with alerted.browser() as nobody:
        assert nobody.get("/alerts").headers["location"] == "/signin"


def test_three_links_a_day_and_only_the_last_one_is_good(alerted: PortalWorld, mails: MailServer) -> None:
    with alerted.signed_in(0) as browser:
        for n in range(4):
            way = way_of(request_address(alerted, browser, f"a{n}@mail.test"))
            done = browser.get(alerted.back(way, "sub-0")).headers["location"]
            assert done == f"/alerts?done={'sent' if n < 3 else 'unsent'}"
        links = [re.search(r"/alerts/confirm/\S+", text_of_mail(mail)) for mail in mails.mails]
        statuses = [browser.post(link[0]).status_code for link in links if link is not None]
        assert statuses[:2] == [404, 404]
        assert statuses[2] in (200, 201)
        alerted.parties.clock.now += DAY_S
    with alerted.signed_in(0) as browser:
        way = way_of(request_address(alerted, browser, "a5@mail.test"))
        assert browser.get(alerted.back(way, "sub-0")).headers["location"] == "/alerts?done=sent"


def test_a_mail_says_that_there_is_something_and_nothing_else(alerted: PortalWorld, mails: MailServer) -> None:
    parties = alerted.parties
    for person in (0, 1):
        subscribe(alerted, mails, person)
    subscribe(alerted, mails, 2, "en")
    parties.ask("one", [0])
    for n in range(5):
        parties.ask(f"many-{n}", [1, 2])
    assert later(alerted, 3) == 3
    by_address = {str(mail["To"]): mail for mail in mails.mails}
    few, many = by_address["person-0@mail.test"], by_address["person-1@mail.test"]
    assert few.as_bytes().replace(b"person-0", b"person-1").split(b"\n\n")[1] == many.as_bytes().split(b"\n\n")[1]
    for name in ("Subject", "From", "Content-Type", "Auto-Submitted"):
        assert few[name] == many[name]
    assert set(few.keys()) == {"From", "To", "Subject", "Date", "Message-ID", "Auto-Submitted", "Content-Type",
                               "Content-Transfer-Encoding", "MIME-Version", "X-Peer", "X-MailFrom", "X-RcptTo"} & set(
                                   few.keys())  # fmt: skip
    said = f"{few['Subject']} {text_of_mail(few)}".replace(alerted.address, "")
    assert not re.search(r"\d", said)
    for word in ("日本年金機構", "nenkin", "市", "税", "照会", "件", "19-8"):
        assert word not in said
    assert text_of_mail(by_address["person-2@mail.test"]).startswith("There is something new in your history.")
    assert re.fullmatch(r"<[\d.]+@history\.test>", str(few["Message-ID"]))


def test_a_record_is_told_of_a_day_later_at_the_hour_and_once(alerted: PortalWorld, mails: MailServer) -> None:
    parties = alerted.parties
    subscribe(alerted, mails, 0)
    # To eight in the morning, an hour before mails go.
    parties.clock.now += 20 * HOUR_S
    run(alerted)
    parties.ask("young", [0])
    parties.clock.now += HOUR_S
    assert run(alerted) == 0
    parties.clock.now += 22 * HOUR_S
    assert run(alerted) == 0
    # A day old at eight, an hour after which mails go; that it is so old is known from the size of ten o'clock.
    sent = []
    for _ in range(49):
        parties.clock.now += HOUR_S
        sent.append(run(alerted))
    assert [n for n, many in enumerate(sent) if many] == [25]
    assert sum(sent) == len(mails.mails) == 1
    for n in range(3):
        parties.ask(f"more-{n}", [0])
    assert later(alerted, 3) == 1


def test_who_signed_in_since_has_seen_it(alerted: PortalWorld, mails: MailServer) -> None:
    subscribe(alerted, mails, 0)
    alerted.parties.ask("seen", [0])
    with alerted.signed_in(0):
        pass
    assert later(alerted, 3) == 0


def test_what_is_withheld_at_the_moment_of_sending_causes_no_mail(alerted: PortalWorld, mails: MailServer) -> None:
    parties = alerted.parties
    for person in (0, 1):
        subscribe(alerted, mails, person)
    parties.ask("r", [0, 1])
    parties.h.withhold(("r", 0), "ground", REVIEW, institution="nenkin")
    assert later(alerted, 3) == 1
    assert [mail["To"] for mail in mails.mails] == ["person-1@mail.test"]


def test_a_mark_that_comes_while_the_queue_is_worked_off_counts(alerted: PortalWorld, mails: MailServer) -> None:
    parties = alerted.parties
    for person in (0, 1):
        subscribe(alerted, mails, person)
    parties.ask("r", [0, 1])
    note(alerted)
    call = alerted.portal.hub.call
    mails.rcpt = "451 later"
    parties.clock.now += DAY_S + HOUR_S
    with pytest.raises(NotSentError):
        run(alerted)
    # One of the two was asked about, and could not be sent; now both are withheld.
    for row in range(2):
        parties.h.withhold(("r", row), "ground", REVIEW, institution="nenkin")
    mails.rcpt = None
    assert run(alerted) == 0
    assert mails.mails == []
    assert alerted.portal.hub.call == call


def test_of_a_person_flagged_no_self_no_mail_goes(alerted: PortalWorld, mails: MailServer) -> None:
    parties = alerted.parties
    for person in (0, 1):
        subscribe(alerted, mails, person)
    parties.h.flag(parties.town, only(parties.known, 0), Flag.NO_SELF)
    parties.ask("r", [0, 1])
    assert later(alerted, 3) == 1
    assert [mail["To"] for mail in mails.mails] == ["person-1@mail.test"]


def test_a_server_that_is_away_gets_the_mail_later_that_day_and_one_that_cuts_does_not(
    alerted: PortalWorld, mails: MailServer
) -> None:
    parties = alerted.parties
    subscribe(alerted, mails, 0)
    parties.ask("r", [0])
    note(alerted)
    parties.clock.now += DAY_S + HOUR_S
    for mails.rcpt, mails.data in (("450 later", None), (None, "452 full")):
        with pytest.raises(NotSentError):
            run(alerted)
    mails.data, mails.cut = None, True
    # The server has the mail, and never said so.
    assert run(alerted) == 0
    assert len(mails.mails) == 1
    mails.cut = False
    for _ in range(3):
        assert run(alerted) == 0
    assert len(mails.mails) == 1
    # The next day once more, since nobody knows; then never again.
    assert later(alerted, 3) == 1


def test_an_address_that_is_refused_is_tried_once_a_day_and_stops_nobody(
    alerted: PortalWorld, mails: MailServer
) -> None:
    for person in (0, 1):
        subscribe(alerted, mails, person)
    alerted.parties.ask("r", [0, 1])
    note(alerted)
    alerted.parties.clock.now += DAY_S + HOUR_S
    mails.rcpt = "550 nobody here"
    assert run(alerted) == 0
    mails.rcpt = None
    assert run(alerted) == 0
    assert later(alerted, 2) == 2


# -- the outbox


MAIL = Mail("a@mail.test", "件名", ".\n..点\n")


def test_mail_goes_by_tls_with_a_login_and_comes_as_it_was(
    context: ssl.SSLContext, network: Network, tmp_path: Path
) -> None:
    (tmp_path / "password").write_text("secret\n")
    server = MailServer(context, login=("history", "secret"))
    try:
        config = server.config(network.authority.ca, user="history", password=str(tmp_path / "password"))
        box = SmtpOutbox(config, SENDER)
        for _ in range(2):
            box.send(MAIL)
        box.close()
        assert [(mail["Subject"], text_of_mail(mail)) for mail in server.mails] == [("件名", ".\n..点\n")] * 2
        (tmp_path / "password").write_text("other")
        with pytest.raises(NotSentError):
            SmtpOutbox(msgspec.structs.replace(config, timeout_s=1.0), SENDER).send(MAIL)
    finally:
        server.stop()


def test_nothing_goes_in_the_clear_or_to_another_server(
    mails: MailServer, network: Network, tmp_path: Path
) -> None:
    plain = MailServer(None)
    try:
        with pytest.raises(NotSentError):
            SmtpOutbox(plain.config(network.authority.ca, tls="starttls"), SENDER).send(MAIL)
        with pytest.raises(NotSentError):
            # Its certificate is of nobody whom the system knows.
            SmtpOutbox(msgspec.structs.replace(mails.config(network.authority.ca), ca=None), SENDER).send(MAIL)
        with pytest.raises(NotSentError):
            SmtpOutbox(mails.config(network.authority.ca, host="127.0.0.2"), SENDER).send(MAIL)
        assert plain.mails == mails.mails == []
    finally:
        plain.stop()


def test_failures_are_told_apart(mails: MailServer, network: Network) -> None:
    box = SmtpOutbox(mails.config(network.authority.ca), SENDER)
    for mails.rcpt, mails.data, mails.cut, error in (
        ("450 later", None, False, NotSentError), ("550 no", None, False, RefusedError),
        (None, "451 later", False, NotSentError), (None, "554 no", False, RefusedError),
        (None, None, True, UnsureError),
    ):  # fmt: skip
        with pytest.raises(error) as caught:
            box.send(MAIL)
        assert str(caught.value) == ""
    mails.cut = False
    box.send(MAIL)
    assert repr(box) == "SmtpOutbox(connected=True)"
    box.close()
    with pytest.raises(RequestError, match="a file cannot be used"):
        SmtpOutbox(mails.config("/nowhere"), SENDER)


def test_mail_without_tls_is_for_loopback_alone(alerted: PortalWorld) -> None:
    config = alerted.config
    assert config.alerts is not None

    def with_smtp(**changes: object) -> Config:
        alerts = msgspec.structs.replace(config.alerts, smtp=msgspec.structs.replace(config.alerts.smtp, **changes))  # type: ignore[union-attr]
        return msgspec.structs.replace(config, alerts=alerts)

    fitting = msgspec.structs.replace(with_smtp(host="localhost", tls="none"), listen="127.0.0.1:1")
    check_config(fitting)
    with pytest.raises(RequestError, match=r"alerts\.smtp\.tls beyond loopback"):
        check_config(with_smtp(host="mail.example.jp", tls="none"))


# -- killed and started again

SCRIPT = """
import asyncio, sys
from pathlib import Path
from hub.portal.alerts import Alerts
from hub.portal.alertstore import AlertStore
from hub.portal.config import load_config
from hub.portal.hubside import HubSideClient
from hub.portal.outbox import SmtpOutbox

async def main():
    config, now = load_config(Path(sys.argv[1])), [0.0]
    mails, hub = config.alerts, HubSideClient(config.hub)
    outboxes = [SmtpOutbox(mails.smtp, mails.sender) for _ in range(mails.smtp.connections)]
    alerts = Alerts(AlertStore(config.links), hub, outboxes, config.address, mails.hour, lambda: now[0])
    try:
        for now[0] in map(float, sys.argv[2:]):
            print("sent", await alerts.run_once(), flush=True)
    finally:
        await alerts.close()
        await hub.close()

asyncio.run(main())
"""
"""The alerts of a portal alone, at some moments one after the other."""


def test_a_mail_goes_at_most_once_a_day_though_the_process_is_killed_in_the_middle_of_it(
    alerted: PortalWorld, mails: MailServer, network: Network
) -> None:
    parties, folder = alerted.parties, alerted.folder
    all_of_them = set(fill_queue(alerted))
    parties.ask("r", list(range(PEOPLE)))
    note(alerted)
    alerted.thread.stop()
    assert alerted.config.alerts is not None
    config = alerted.config
    (folder / "portal.toml").write_text(f"""
listen = "127.0.0.1:0"
address = "{config.address}"
links = "{config.links}"
[tls]
certificate = "{network.host.cert}"
key = "{network.host.key}"
[hub]
address = "{config.hub.address}"
certificate = "{config.hub.certificate}"
key = "{config.hub.key}"
ca = "{config.hub.ca}"
[signin]
issuer = "{config.signin.issuer}"
client_id = "{config.signin.client_id}"
key = "{config.signin.key}"
acr = ["card"]
[alerts]
sender = "{SENDER}"
[alerts.smtp]
host = "localhost"
port = {mails.port}
ca = "{network.authority.ca}"
""")

    def start(*moments: float) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", SCRIPT, str(folder / "portal.toml"), *map(str, moments)]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    now = parties.clock.now = parties.clock.now + DAY_S + HOUR_S
    unsure: list[str] = []
    for _ in range(2):
        mails.hold = True
        mails.taken.clear()
        mails.go.clear()
        process, before = start(now), len(mails.mails)
        assert mails.taken.wait(20)
        # The server has some, the process does not know yet of any.
        process.kill()
        process.wait()
        mails.hold = False
        mails.go.set()
        mails.quiet()
        unsure += [str(mail["To"]) for mail in mails.mails[before:]]
        assert 1 <= len(mails.mails) - before <= 8
    # Those marked as begun whose text had not come to the server yet: nobody can know, so today they get none. The
    # next day those of whom nobody knows, and nobody else.
    whole = start(now, now, now + DAY_S, now + 2 * DAY_S)
    counts = [int(line.removeprefix("sent ")) for line in whole.communicate(timeout=100)[0].splitlines()]
    today, tomorrow = mails.mails[: len(unsure) + counts[0]], mails.mails[len(unsure) + counts[0] :]
    to, again = ([str(mail["To"]) for mail in some] for some in (today, tomorrow))
    assert len(to) == len(set(to)), "none twice in a day"
    assert (counts[1], counts[3]) == (0, 0)
    assert sorted(again) == sorted(all_of_them - (set(to) - set(unsure)))
    assert len(again) == counts[2] <= 2 * 8


def test_without_a_mail_server_there_is_no_such_page(world: PortalWorld) -> None:
    with world.signed_in(0) as browser:
        assert browser.get("/alerts").status_code == 404
        assert 'href="/alerts"' not in browser.get("/history").text
        assert token_of(browser.get("/history").text)
