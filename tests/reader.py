"""A process beside the tests that opens folders and answers questions about them, and may die of what it finds there.

``Reader`` is the tests' side. The other is this file as a program: one JSON line in, one out.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

import hub


class Refused(Exception):
    """The hub raised an error in the other process; ``kind`` is its class."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class Reader:
    """One such process at a time; when one has died, the next question finds a new one."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None

    def ask(self, ask: str, **words: Any) -> Any:
        """Put one question.

        Raises:
            Refused: the hub raised an error.
            AssertionError: the process died.
        """
        if self._process is None:
            env = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
            self._process = subprocess.Popen(
                [sys.executable, __file__], env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps({"ask": ask, **words}) + "\n")
        process.stdin.flush()
        line = process.stdout.readline()
        if not line:
            self.close()
            raise AssertionError(f"{ask}: the process died with status {process.returncode}")
        answer = json.loads(line)
        if "kind" in answer:
            raise Refused(answer["kind"], answer["message"])
        return answer["answer"]

    def close(self) -> None:
        if self._process is not None:
            assert self._process.stdin is not None
            assert self._process.stdout is not None
            self._process.stdin.close()
            self._process.stdout.close()
            self._process.wait(timeout=30)
            self._process = None


def _answer(h: hub.Hub, question: dict[str, Any]) -> Any:
    ask = question.pop("ask")
    if ask == "stats":
        return h.stats()
    if ask == "check_blocks":
        return h.check_blocks()
    if ask == "history":
        return [record.index for record in h.history(question["alias"], limit=1000).records]
    if ask == "answers":
        answers = h.answers(question["requester"], question["request_id"])
        payloads = [None if one is None else one.hex() for one in answers.payloads]
        return [answers.status.tolist(), answers.reason.tolist(), payloads, answers.complete]
    if ask == "acquire":
        acquired = h.acquire(question["institution"], question["codes"])
        return [acquired.aliases.tobytes().hex(), acquired.status.tolist()]
    aliases = np.frombuffer(bytes.fromhex(question["aliases"]), np.uint8).reshape(-1, 16)
    if ask == "inquire":
        return h.inquire(hub.Inquiry(**question["inquiry"]), aliases, question["providers"]).status.tolist()
    if ask == "flags":
        return h.flags(question["institution"], aliases).tolist()
    assert ask == "resolve"
    resolved = h.resolve(question["requester"], question["providers"], aliases)
    return [resolved.aliases.tobytes().hex(), resolved.status.tolist()]


def _serve() -> None:
    h: hub.Hub | None = None
    for line in sys.stdin:
        question = json.loads(line)
        answer: dict[str, Any] = {"answer": None}
        try:
            if question["ask"] == "open":
                now = question.get("now")
                clock = {} if now is None else {"clock": lambda now=now: now}
                h = hub.open(question["folder"], **question.get("options", {"readonly": True}), **clock)
            elif question["ask"] == "close":
                if h is not None:
                    h.close()
            else:
                assert h is not None
                answer = {"answer": _answer(h, question)}
        except hub.errors.HubError as error:
            answer = {"kind": type(error).__name__, "message": str(error)}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    _serve()
