"""The institution's side of the exchange; open a folder with :func:`hub.agency.open`. See docs/agency.md."""

from hub.agency.agency import Agency, AgencyState, RegisterState, open
from hub.agency.answering import Answered
from hub.agency.compare import compare
from hub.agency.differences import Comparison, Difference
from hub.agency.layout import Layout, read_layout
from hub.agency.links import Linked
from hub.agency.owncopy import AskedByHand
from hub.agency.register import LoadState

__all__ = [
    "Agency",
    "AgencyState",
    "Answered",
    "AskedByHand",
    "Comparison",
    "Difference",
    "Layout",
    "Linked",
    "LoadState",
    "RegisterState",
    "compare",
    "open",
    "read_layout",
]
