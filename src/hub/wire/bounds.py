"""What an institution may not ask although it may call the method: held here, whatever the catalog says."""

from __future__ import annotations

from typing import Any

from hub.messages import OWN_DATA
from hub.wire.faults import AccessError

PORTAL = "portal"


def bound_portal(institution: str, arguments: dict[str, Any]) -> None:
    """The portal inquires for a citizen who looks at their own data, and for nothing else, one person a call.

    A portal that was broken into holds the aliases of everybody who signs in; by this it can neither ask as an agency
    would, should a catalog have a rule for it by mistake, nor ask about many at once.

    Args:
        arguments: of ``Hub.inquire``.

    Raises:
        AccessError: another procedure, or more or fewer rows than one.
    """
    if institution != PORTAL:
        return
    if not arguments["inquiry"].procedure.startswith(OWN_DATA):
        raise AccessError(f"procedure: expected one of {OWN_DATA} for the portal, got another")
    if len(arguments["aliases"]) != 1:
        raise AccessError("aliases: expected one row for the portal, got another number")
