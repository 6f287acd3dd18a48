"""Inquiries that the law allows."""

from __future__ import annotations

import hub


def tax_inquiry(request_id: str = "r1", **changes: object) -> hub.Inquiry:
    """The pension agency asks a municipality for the municipal tax of the person liable for contributions."""
    fields: dict[str, object] = {
        "requester": "nenkin",
        "procedure": "19-8/73/75.3",
        "items": ("市町村民税",),
        "role": "納付義務者",
        "section": "国民年金部",
        "request_id": request_id,
    }
    return hub.Inquiry(**{**fields, **changes})  # type: ignore[arg-type]
