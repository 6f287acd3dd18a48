"""The information-linkage hub: administrative bodies ask each other about a person without a shared number.

Open a folder with :func:`open`, then see :class:`Hub`; :func:`connect` to one that is served.
"""

from typing import TYPE_CHECKING, Any

from hub import errors
from hub.catalog import Catalog, Decision, Institution, Procedure, Rule
from hub.citizens.corrections import CorrectionNotice
from hub.citizens.proxies import Principal, Proxy
from hub.citizens.proxystate import ProxyKind, ProxyState
from hub.hub import Hub, open
from hub.messages import (
    REFUSALS,
    Acquired,
    Acquisition,
    Answer,
    Answers,
    Arrivals,
    Arrived,
    Claims,
    CounterHistory,
    Differs,
    Flag,
    History,
    Holders,
    Identified,
    Identity,
    Inquiry,
    Kind,
    Notice,
    Notices,
    PermitInquiry,
    Permits,
    Push,
    Reason,
    Receipt,
    Record,
    Resolved,
    Sent,
    Status,
    Update,
    Uses,
    Wanted,
    Withhold,
)
from hub.methods.requests import RequestStatus
from hub.mislinks.attributes import Attributes, compare_attributes, open_attributes
from hub.mislinks.blast import BlastRadius, Dealing
from hub.mislinks.report import MislinkReport
from hub.persons.dying import Closed, Deaths
from hub.persons.merging import Undecided
from hub.provision.payloads import new_payload_key, open_payload, seal_payload
from hub.records.events import Event, EventKind
from hub.records.handles import PartyRecord
from hub.records.held import HeldRecord
from hub.records.holds import Hold, HoldState
from hub.records.retain import PeriodState, Retained
from hub.tlog.proof import Proof
from hub.verify import Report

if TYPE_CHECKING:
    from hub import aio
    from hub.client import Remote, connect
    from hub.wire.faults import AccessError, LateError, WireError

__version__ = "0.1.0"

__all__ = [
    "REFUSALS",
    "AccessError",
    "Acquired",
    "Acquisition",
    "Answer",
    "Answers",
    "Arrivals",
    "Arrived",
    "Attributes",
    "BlastRadius",
    "Catalog",
    "Claims",
    "Closed",
    "CorrectionNotice",
    "CounterHistory",
    "Dealing",
    "Deaths",
    "Decision",
    "Differs",
    "Event",
    "EventKind",
    "Flag",
    "HeldRecord",
    "History",
    "Hold",
    "HoldState",
    "Holders",
    "Hub",
    "Identified",
    "Identity",
    "Inquiry",
    "Institution",
    "Kind",
    "LateError",
    "MislinkReport",
    "Notice",
    "Notices",
    "PartyRecord",
    "PeriodState",
    "PermitInquiry",
    "Permits",
    "Principal",
    "Procedure",
    "Proof",
    "Proxy",
    "ProxyKind",
    "ProxyState",
    "Push",
    "Reason",
    "Receipt",
    "Record",
    "Remote",
    "Report",
    "RequestStatus",
    "Resolved",
    "Retained",
    "Rule",
    "Sent",
    "Status",
    "Undecided",
    "Update",
    "Uses",
    "Wanted",
    "WireError",
    "Withhold",
    "aio",
    "compare_attributes",
    "connect",
    "errors",
    "new_payload_key",
    "open",
    "open_attributes",
    "open_payload",
    "seal_payload",
]


def __getattr__(name: str) -> Any:
    # Whoever works on a folder alone does not wait for what only a network needs.
    if name == "aio":
        import hub.aio

        return hub.aio
    if name in ("AccessError", "LateError", "WireError"):
        from hub.wire import faults

        return getattr(faults, name)
    if name in ("Remote", "connect"):
        from hub import client

        return getattr(client, name)
    raise AttributeError(f"module 'hub' has no attribute '{name}'")
