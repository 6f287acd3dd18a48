"""Mails on their way out: a small interface, and SMTP (RFC 5321) with TLS behind it.

What a failed mail means is told apart, because a mail must not go twice in a day: not taken by the server (again
later), refused for good, or nobody knows (the connection broke behind the text).
"""

from __future__ import annotations

import contextlib
import email.policy
import re
import smtplib
import ssl
import time
from email.message import EmailMessage
from email.utils import formatdate, make_msgid
from pathlib import Path
from typing import NamedTuple, Protocol

from hub.errors import RequestError
from hub.portal.config import Smtp

ADDRESS_CHARS_MAX = 254
_ADDRESS = re.compile(
    r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)+[A-Za-z]{2,63}"
)
KEPT_S = 30.0
"""A connection that was not used for so long is made anew: servers end idle ones."""


class Mail(NamedTuple):
    """One mail."""

    to: str
    subject: str
    text: str

    def __repr__(self) -> str:
        return "Mail()"


class NotSentError(Exception):
    """The server has not taken it: the same mail may go later. Holds nothing of the mail."""


class RefusedError(Exception):
    """The server does not take it, now or later."""


class UnsureError(Exception):
    """Nobody knows whether the server has taken it."""


class Outbox(Protocol):
    """Where mails are handed over; called by one thread at a time."""

    def send(self, mail: Mail) -> None:
        """Hand over one mail.

        Raises:
            NotSentError, RefusedError, UnsureError: see there.
        """

    def close(self) -> None:
        """Let go of connections; may be used again."""


def is_address(text: str) -> bool:
    """Whether mail can go there: one address in ASCII, with nothing that a header or a command could take for more."""
    return len(text) <= ADDRESS_CHARS_MAX and _ADDRESS.fullmatch(text) is not None


class SmtpOutbox:
    """A server that takes mails (``smtplib``); one connection, kept while mails follow each other."""

    def __init__(self, config: Smtp, sender: str) -> None:
        """
        Raises:
            RequestError: a file of the configuration cannot be used.
        """
        self._config, self._sender = config, sender
        self._password: str | None = None
        try:
            self._context = ssl.create_default_context(cafile=config.ca)
            if config.password is not None:
                self._password = Path(config.password).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise RequestError(f"alerts.smtp: a file cannot be used: {type(error).__name__}") from None
        self._smtp: smtplib.SMTP | None = None
        self._used = 0.0

    def __repr__(self) -> str:
        return f"SmtpOutbox(connected={self._smtp is not None})"

    def send(self, mail: Mail) -> None:
        """See :class:`Outbox`."""
        data = self._compose(mail)
        try:
            smtp = self._connected()
            self._check(*smtp.mail(self._sender))
            self._check(*smtp.rcpt(mail.to))
        except (smtplib.SMTPException, OSError):
            self.close()
            raise NotSentError from None
        except (NotSentError, RefusedError):
            self.close()
            raise
        try:
            code, words = smtp.data(data)
        except smtplib.SMTPDataError as error:
            # It did not even want to hear the text.
            self.close()
            self._check(int(error.smtp_code), b"")
            raise NotSentError from None
        except (smtplib.SMTPException, OSError):
            self.close()
            raise UnsureError from None
        self._used = time.monotonic()
        self._check(code, words)

    def close(self) -> None:
        """See :class:`Outbox`."""
        smtp, self._smtp = self._smtp, None
        if smtp is not None:
            with contextlib.suppress(smtplib.SMTPException, OSError):
                smtp.quit()
            smtp.close()

    def _check(self, code: int, _: bytes) -> None:
        if code >= 500:
            raise RefusedError
        if not 200 <= code < 300:
            raise NotSentError

    def _connected(self) -> smtplib.SMTP:
        if self._smtp is not None and time.monotonic() - self._used > KEPT_S:
            self.close()
        if self._smtp is None:
            config = self._config
            # Said to the server: a name that there is, and not this machine's.
            here = self._sender.rpartition("@")[2]
            if config.tls == "implicit":
                smtp: smtplib.SMTP = smtplib.SMTP_SSL(
                    config.host, config.port, here, timeout=config.timeout_s, context=self._context
                )
            else:
                smtp = smtplib.SMTP(config.host, config.port, here, timeout=config.timeout_s)
            try:
                if config.tls == "starttls":
                    # Raises where the server has it not: nothing goes in the clear.
                    smtp.starttls(context=self._context)
                if config.user is not None:
                    smtp.login(config.user, self._password or "")
                smtp.ehlo_or_helo_if_needed()
            except BaseException:
                smtp.close()
                raise
            self._smtp = smtp
        self._used = time.monotonic()
        return self._smtp

    def _compose(self, mail: Mail) -> bytes:
        message = EmailMessage(policy=email.policy.SMTP)
        message["From"], message["To"], message["Subject"] = self._sender, mail.to, mail.subject
        message["Date"] = formatdate()
        # Not made of this machine's name and process.
        message["Message-ID"] = make_msgid(domain=self._sender.rpartition("@")[2])
        message["Auto-Submitted"] = "auto-generated"
        message.set_content(mail.text, cte="base64")
        return message.as_bytes()
