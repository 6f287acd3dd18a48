"""Inquiries of one row each as columns, and their answers as futures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any

import numpy as np

import hub
from hub.decode import decode_inquiry
from hub.requests.state import request_key
from hub.singles.small import Question, SmallAnswers, SmallRows

Asked = tuple[hub.Inquiry, Any, Any] | tuple[hub.Inquiry, Any, Any, bool]
"""An inquiry, an alias (uint8[16]), a provider's code or number, and whether the person consented."""


def columns(h: hub.Hub, asked: Sequence[Asked]) -> SmallRows:
    """These inquiries as columns; their digests are made by the question, their words checked as those of a call."""
    numbers: dict[Any, int] = {}
    questions: list[Question] = []
    n = len(asked)
    rows = SmallRows(
        questions, np.zeros(n, np.uint32), np.zeros((n, 16), np.uint8), np.zeros(n, np.uint32),
        np.zeros((n, 16), np.uint8), np.zeros((n, 32), np.uint8), np.zeros(n, np.uint8),
    )  # fmt: skip
    for i, one in enumerate(asked):
        inquiry, alias, provider = one[:3]
        consent = len(one) == 4 and bool(one[3])
        alias = np.ascontiguousarray(alias, np.uint8).reshape(1, 16)
        given = provider if isinstance(provider, str) else np.array([provider], np.uint32)
        batch = decode_inquiry(h.catalog, inquiry, alias, given, None, None, True if consent else None)
        name = (inquiry.requester, inquiry.procedure, batch.inquiry.items, inquiry.section, inquiry.role,
                inquiry.operator, inquiry.reference_date)  # fmt: skip
        if name not in numbers:
            numbers[name] = len(questions)
            questions.append(Question(batch.inquiry, batch.requester))
        number = int(batch.providers[0])
        question = questions[numbers[name]]
        digest = question.digest(inquiry.request_id, alias.tobytes(), number, consent=consent)
        assert digest == batch.digest
        rows.which[i], rows.aliases[i], rows.providers[i] = numbers[name], alias, number
        rows.keys[i] = np.frombuffer(request_key(inquiry.requester, inquiry.request_id), np.uint8)
        rows.digests[i] = np.frombuffer(digest, np.uint8)
        assert rows.consents is not None
        rows.consents[i] = consent
    return rows if rows.consents is not None and rows.consents.any() else rows._replace(consents=None)


def submit(h: hub.Hub, asked: Sequence[Asked] | SmallRows) -> Future[SmallAnswers]:
    """Hand them in; a future of their answers."""
    future: Future[SmallAnswers] = Future()
    h.inquire_rows(asked if isinstance(asked, SmallRows) else columns(h, asked), future.set_result)
    return future


def together(h: hub.Hub, held: Callable[[], Any], parts: Sequence[Sequence[Asked]]) -> list[Future[SmallAnswers]]:
    """Hand in several submissions while every commit is held, so that they meet in one group."""
    with held():
        return [submit(h, part) for part in parts]
