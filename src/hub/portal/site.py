"""What sites with a sign-in share, the citizen's portal and the clerks' desk: who asks, with which form; cookies."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

from litestar import Request, Response
from litestar.datastructures import Cookie

from hub.portal.config import Limits
from hub.portal.sessions import Session, Sessions

AnyRequest = Request[Any, Any, Any]
Page = Response[Any]


class NotFoundError(Exception):
    """There is no such page for this person; the same whatever the reason."""


class SignedOutError(Exception):
    """Nobody is signed in: the ordinary sign-in page."""


class FormError(Exception):
    """A form that this session did not give out, or that came from elsewhere."""


class Site(ABC):
    """A site: its address, its sessions, its clock."""

    name = "portal"
    """Of its cookies on loopback, where several sites share a host."""

    def __init__(self, address: str, limits: Limits, clock: Callable[[], float]) -> None:
        """Args: address: as browsers see it. clock: seconds since 1970."""
        self.address, self.secure, self.clock = address, address.startswith("https://"), clock
        self.sessions = Sessions(limits, clock)

    @abstractmethod
    async def start(self) -> None:
        """Begin what goes on beside the pages."""

    @abstractmethod
    async def close(self) -> None:
        """Close what is open."""

    @abstractmethod
    def page(
        self, request: AnyRequest, template: str, *, status: int = 200, session: Session | None = None, **context: Any
    ) -> Page:
        """A page in the reader's language."""

    # -- who asks

    def session(self, request: AnyRequest) -> Session | None:
        """Who is signed in, if anybody."""
        return self.sessions.find(request.cookies.get(self.cookie_name("session")))

    def signed_in(self, request: AnyRequest) -> Session:
        """Who is signed in.

        Raises:
            SignedOutError: nobody.
        """
        session = self.session(request)
        if session is None:
            raise SignedOutError
        return session

    async def form(self, request: AnyRequest, session: Session) -> dict[str, str]:
        """The fields of a form that this session gave out.

        Raises:
            FormError: it is another's.
        """
        self.check_origin(request)
        form = {name: value for name, value in (await request.form()).items() if isinstance(value, str)}
        if not session.takes(form.pop("csrf", "")):
            raise FormError
        return form

    def check_origin(self, request: AnyRequest) -> None:
        """Refuse what another site's page sent.

        Raises:
            FormError: it did.
        """
        if request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
            raise FormError
        origin = request.headers.get("origin")
        if origin is not None and origin != self.address:
            raise FormError

    # -- cookies

    def cookie_name(self, name: str) -> str:
        """``__Host-`` binds a cookie to this very host and to TLS; without TLS (loopback only) browsers refuse it."""
        return f"__Host-{name}" if self.secure else f"{self.name}-{name}"

    def cookie(self, name: str, value: str, *, max_age: int | None = None) -> Cookie:
        """A cookie that scripts cannot read and other sites' forms do not bring."""
        return Cookie(
            key=self.cookie_name(name), value=value, path="/", secure=self.secure, httponly=True,
            samesite="lax", max_age=max_age,
        )  # fmt: skip
