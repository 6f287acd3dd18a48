"""A real SMTP server (``aiosmtpd``) on loopback, which can be made to fail in every way that servers do."""

from __future__ import annotations

import asyncio
import email
import email.policy
import ssl
import threading
import time
from email.message import EmailMessage
from typing import Any

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, Session

from hub.portal.config import Smtp


class MailServer:
    """Takes mails until it is stopped.

    Attributes:
        mails: what was taken. rcpt, data: what it says to each recipient and each text; None: it takes them.
        cut: whether it takes the text and ends the connection without a word.
        hold: set, a text is answered only when ``go`` is set. open_most: so many texts at most came at a time.
    """

    def __init__(self, context: ssl.SSLContext | None, *, login: tuple[str, str] | None = None) -> None:
        self.mails: list[EmailMessage] = []
        self.rcpt: str | None = None
        self.data: str | None = None
        self.cut = self.hold = False
        self.open_most = self._open = 0
        self.taken, self.go = threading.Event(), threading.Event()
        self._context, self._login = context, login
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        assert self._ready.wait(20)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._server = self._loop.run_until_complete(
            self._loop.create_server(self._make, host="127.0.0.1", port=0)
        )
        self.port: int = self._server.sockets[0].getsockname()[1]
        self._ready.set()
        self._loop.run_forever()

    def _make(self) -> SMTP:
        def check(*given: Any) -> AuthResult:
            data = given[-1]
            return AuthResult(success=(data.login.decode(), data.password.decode()) == self._login)

        return SMTP(
            self, hostname="mail.test", tls_context=self._context, require_starttls=self._context is not None,
            auth_required=self._login is not None, authenticator=check, auth_require_tls=self._context is not None,
            loop=self._loop,
        )  # fmt: skip

    def stop(self) -> None:
        def end() -> None:
            self._server.close()
            self._loop.stop()

        self._loop.call_soon_threadsafe(end)
        self._thread.join(20)

    def config(self, ca: str, **changes: Any) -> Smtp:
        given = {"host": "localhost", "port": self.port, "ca": ca, "tls": "starttls" if self._context else "none"}
        return Smtp(**{**given, **changes})

    # -- for aiosmtpd

    async def handle_RCPT(self, server: SMTP, session: Session, envelope: Envelope, address: str, _: Any) -> str:
        if self.rcpt is not None:
            return self.rcpt
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        if self.data is not None:
            return self.data
        content = envelope.content
        assert isinstance(content, bytes)
        self._open += 1
        self.open_most = max(self.open_most, self._open)
        self.mails.append(email.message_from_bytes(content, policy=email.policy.default))  # type: ignore[arg-type]
        self.taken.set()
        while self.hold and not self.go.is_set():
            await asyncio.sleep(0.02)
        if self.cut:
            assert server.transport is not None
            server.transport.close()
        self._open -= 1
        return "250 OK"

    def quiet(self) -> None:
        """Wait until no text is being taken."""
        until = time.monotonic() + 20
        while self._open and time.monotonic() < until:
            time.sleep(0.02)


def text_of_mail(mail: EmailMessage) -> str:
    return str(mail.get_content()).replace("\r\n", "\n")
