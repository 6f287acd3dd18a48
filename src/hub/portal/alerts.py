"""Alerts by mail that betray nothing: "there is something new; sign in", at one hour of the day, for who asked for it.

    every minute: the log's size is noted (once an hour) -> at the hour: a line for everybody in the queue
    each line, some beside each other: the hub is asked, at this moment -> marked as begun, durably -> handed to an
        outbox -> marked as over

No institution, procedure, number or time is in a mail: all mails of a language are the same. What is new is a record
that the log had a day ago; that the log had it then is known from its size, noted at the time, and from nothing that a
record says. What is withheld now, and everything of a person flagged NO_SELF, the hub does not tell (``Hub.news``).
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import hashlib
import logging
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import NamedTuple

from hub.catalog.moments import JAPAN
from hub.errors import RequestError
from hub.portal.alertstore import DAY_S, OVER, WAITING, AlertStore, Subscriber
from hub.portal.handover import HandOver, each, to_the_end
from hub.portal.hubside import HubAwayError, HubSideClient
from hub.portal.outbox import Mail, NotSentError, Outbox, RefusedError, UnsureError
from hub.portal.wordlists import LANGUAGES, Language, Word

TICK_S = 60.0
NOTE_S = 3_600
AGE_S = DAY_S
"""Records are at least so old when a mail tells of them."""
AT_A_TIME = 1_000
CONFIRMATIONS_A_DAY = 3
STEP_S, STEPS_MAX = 600.0, 10_000

SUBJECT = Word("やりとり履歴のお知らせ", "A message from the history portal", "お知らせ")
TEXT = Word(
    "あなたの履歴に、新しいものがあります。サインインして、ご確認ください。\n\n{address}\n\n"
    "このメールを止めるには、サインインして「メール」を開いてください。\n",
    "There is something new in your history. Please sign in to see it.\n\n{address}\n\n"
    "To stop these mails, sign in and open \"Mail\".\n",
    "あなたの履歴に、新しいものがあります。入って、見てください。\n\n{address}\n\nメールを止めるときは、入って「メール」を開いてください。\n",
)  # fmt: skip
CONFIRM_SUBJECT = Word("メールアドレスの確認", "Please confirm your address", "メールアドレスを確かめてください")
CONFIRM_TEXT = Word(
    "このアドレスにお知らせを送ってよければ、一日以内に次のページを開いて確認してください。\n\n{address}/alerts/confirm/{token}\n\n"
    "心当たりがなければ、何もしないでください。\n",
    "To have messages sent to this address, open this page within a day and confirm it.\n\n"
    "{address}/alerts/confirm/{token}\n\nIf you do not know what this is, do nothing.\n",
    "ここにお知らせを送ってよいときは、1日のうちに、次のページを開いてください。\n\n{address}/alerts/confirm/{token}\n\n"
    "知らないときは、何もしないでください。\n",
)  # fmt: skip

CHANGED_SUBJECT = Word("宛先の変更のお知らせ", "The address was changed", "メールの宛先が変わりました")
CHANGED_TEXT = Word(
    "お知らせの宛先が、このアドレスから別のアドレスに変更されました。\n\n"
    "心当たりがないときは、サインインして「メール」を開いてください。\n\n{address}\n",
    "Messages go to another address now, and no more to this one.\n\n"
    "If you did not change it, please sign in and open \"Mail\".\n\n{address}\n",
    "お知らせは、ほかのアドレスに行くようになりました。\n\n"
    "知らないときは、入って「メール」を開いてください。\n\n{address}\n",
)  # fmt: skip

logger = logging.getLogger("hub.portal")


class Step(NamedTuple):
    """A new address whose owner is on the way through a fresh sign-in.

    Attributes:
        began: seconds since 1970 of this machine, as the provider's ``auth_time``.
    """

    alias: bytes
    address: str
    language: Language
    began: float

    def __repr__(self) -> str:
        return "Step()"


class Alerts:
    """The alerts of one portal; used in its loop."""

    def __init__(
        self, store: AlertStore, hub: HubSideClient, outboxes: Sequence[Outbox], address: str, hour: int,
        clock: Callable[[], float],
    ) -> None:  # fmt: skip
        """Args: outboxes: so many mails go beside each other. address: the portal's, as browsers see it.
        hour: of the day in Japan, from which mails go.
        """
        self.store = store
        self._hub, self._address, self._hour, self._clock = hub, address, hour, clock
        self._mails = HandOver(outboxes)
        self._steps: OrderedDict[bytes, Step] = OrderedDict()
        self._telling_old = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"Alerts(running={self._task is not None})"

    def start(self) -> None:
        """Look every minute, in the running loop."""
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def close(self) -> None:
        """Stop; a mail that is on its way is waited for."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        await self._mails.close()
        self.store.close()

    # -- a new address

    def begin_step(self, cookie: str, alias: bytes, address: str, language: Language) -> None:
        """Remember what a fresh sign-in is for, by the cookie that binds it to the browser."""
        now = time.time()
        self._steps[_digest(cookie)] = Step(alias, address, language, now)
        while len(self._steps) > STEPS_MAX or now - next(iter(self._steps.values())).began > STEP_S:
            self._steps.popitem(last=False)

    def take_step(self, cookie: str | None) -> Step | None:
        """What a sign-in was for, once."""
        step = None if cookie is None else self._steps.pop(_digest(cookie), None)
        return None if step is None or time.time() - step.began > STEP_S else step

    async def send_confirmation(self, step: Step) -> bool:
        """Send the link to the new address; False where it cannot be sent, or too many were today."""
        token = secrets.token_urlsafe(32)
        made = self.store.put_confirmation(
            token, step.alias, step.address, step.language, int(self._clock()), CONFIRMATIONS_A_DAY
        )
        if not made:
            return False
        text = CONFIRM_TEXT.say(step.language).format(address=self._address, token=token)
        try:
            await self._mails.send(Mail(step.address, CONFIRM_SUBJECT.say(step.language), text))
        except (NotSentError, RefusedError):
            return False
        except UnsureError:
            return True
        return True

    async def confirm(self, token: str) -> bool:
        """A link was followed and confirmed; whether it was good. Where mails went before is told within a minute.

        Raises:
            HubAwayError: it cannot be said from where on there is news; the link stays good.
        """
        return self.store.confirm(token, await self._log_size(), int(self._clock()))

    async def note_seen(self, alias: bytes) -> None:
        """Who signs in sees what is new: no mail tells of it."""
        if self.store.find(alias) is not None:
            with contextlib.suppress(HubAwayError):
                self.store.set_told(alias, await self._log_size())

    def is_waiting(self, token: str) -> bool:
        """Whether a link is good."""
        return self.store.is_waiting(token, int(self._clock()))

    # -- every day

    async def _run(self) -> None:
        while True:
            try:
                await self.run_once()
            except (HubAwayError, NotSentError):
                logger.warning("alerts: wait, the hub or the mail server does not answer")
            except Exception as error:
                # The kind alone: what is under way is somebody's.
                logger.error("alerts: failed: %s", type(error).__name__)
            await asyncio.sleep(TICK_S)

    async def run_once(self) -> int:
        """What is due now; returns how many mails went out.

        Raises:
            HubAwayError, NotSentError: somebody does not answer; what waits goes on waiting.
        """
        await self._tell_old()
        await self._note_size()
        now = self._clock()
        there = dt.datetime.fromtimestamp(now, JAPAN)
        if there.hour < self._hour:
            return 0
        day = there.date().toordinal()
        self.store.begin_day(day)
        below = self.store.size_by(int(now) - AGE_S)
        if below is None:
            # Nobody can say yet what is a day old; not at another hour than the fixed one.
            self.store.end_day(day)
            return 0
        sent = 0
        while some := self.store.waiting(day, AT_A_TIME):
            sent += await each(lambda one: self._tell(one, day, below), some, len(self._mails))
        return sent

    async def _tell_old(self) -> None:
        """Tell addresses to which mails go no more that they were changed; kept on disk until the server has it."""
        async with self._telling_old:
            for one in self.store.changed():
                language = language_of(one.language)
                text = CHANGED_TEXT.say(language).format(address=self._address)
                try:
                    await to_the_end(self._mails.send(Mail(one.address, CHANGED_SUBJECT.say(language), text)))
                except NotSentError:
                    return
                except (RefusedError, UnsureError) as error:
                    logger.warning("alerts: a mail was not taken: %s", type(error).__name__)
                self.store.drop_changed(one.number)

    async def _tell(self, one: Subscriber, day: int, below: int) -> bool:
        """One line of the queue; whether its mail went out."""
        newest: int | None = None
        with contextlib.suppress(RequestError):
            # Refused: the alias is closed, as a dead person's is.
            newest = await self._hub.call("news", one.alias, first=one.told, below=max(below, one.told))
        # Asked for again by its alias: it may have been switched off, or have another address, since.
        current = self.store.find(one.alias)
        if newest is None or current is None:
            self.store.set_state(one.alias, day, OVER)
            return False
        language = language_of(current.language)
        text = TEXT.say(language).format(address=self._address)
        if not self.store.begin_line(one.alias, day):
            return False
        return await to_the_end(
            self._hand_over(Mail(current.address, SUBJECT.say(language), text), one.alias, day, newest + 1)
        )

    async def _hand_over(self, mail: Mail, alias: bytes, day: int, told: int) -> bool:
        """A line that is begun; whether its mail went out."""
        try:
            await self._mails.send(mail)
        except NotSentError:
            self.store.set_state(alias, day, WAITING)
            raise
        except (RefusedError, UnsureError) as error:
            # Tomorrow again: where it did arrive, one mail too many, and another day's.
            self.store.set_state(alias, day, OVER)
            logger.warning("alerts: a mail was not taken: %s", type(error).__name__)
            return False
        self.store.set_state(alias, day, OVER, told=told)
        return True

    async def _note_size(self) -> None:
        if self._clock() - self.store.newest_note() < NOTE_S:
            return
        size = await self._log_size()
        # Its moment is taken behind it: all of that size was there by then.
        self.store.note_size(int(self._clock()) + 1, size)

    async def _log_size(self) -> int:
        note: str = await self._hub.call("checkpoint")
        return int(note.split("\n")[1])


def language_of(code: str) -> Language:
    """A language by its code; Japanese where there is none such."""
    return next((one for one in LANGUAGES if one == code), "ja")


def _digest(cookie: str) -> bytes:
    return hashlib.sha256(cookie.encode("utf-8", "surrogateescape")).digest()
