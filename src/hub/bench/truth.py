"""Whether the answers were right: every measured answer against the model, and one hash over all of them."""

from __future__ import annotations

import hashlib

import numpy as np
import numpy.typing as npt

from hub.messages import Status

WRONG = np.uint32(0xFFFFFFFF)


class Truth:
    """Collects answers and compares each with the model's.

    Every repeat is compared; the hash takes each case's first answer, since how often a case repeats depends on
    the machine. Aliases are drawn at random, so the hash is over statuses and over *whose* alias came.

    Attributes:
        problems: what differed from the model, without any answer in the text.
        rows: answers checked.
    """

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self.problems: list[str] = []
        self.rows = 0

    def hexdigest(self) -> str:
        return self._hash.hexdigest()

    def check_column(
        self,
        case: str,
        name: str,
        got: npt.NDArray[np.generic],
        expected: npt.NDArray[np.generic],
        *,
        first: bool = True,
    ) -> None:
        """Compare one column of an answer with the model's, and hash it if it is the case's first."""
        self.rows += len(expected)
        if got.shape != expected.shape or got.dtype != expected.dtype:
            self._problem(
                case, f"{name}: expected {expected.dtype}{list(expected.shape)}, got {got.dtype}{list(got.shape)}"
            )
            return
        different = np.count_nonzero((got != expected).reshape(len(got), -1).any(axis=1))
        if different:
            self._problem(case, f"{name}: expected the model's in all {len(got)} rows, got others in {different}")
        if first:
            self._digest(case, name, got)

    def check_aliases(
        self,
        case: str,
        aliases: npt.NDArray[np.uint8],
        status: npt.NDArray[np.uint8],
        expected: npt.NDArray[np.uint8],
        persons: npt.NDArray[np.uint32],
        expected_status: Status = Status.OK,
        *,
        first: bool = True,
        in_order: bool = True,
    ) -> None:
        """Compare the providers' aliases of one batch with the model's.

        Args:
            expected: uint8[N, 16], what the model says; zeros where there is no alias.
            persons: uint32[N], whose alias that is; this goes into the hash, with WRONG where another came.
            in_order: false where the rows stand in an order that the drawn aliases decide; the hash then sorts them.
        """
        statuses = np.full(len(expected), expected_status, dtype=np.uint8)
        self.check_column(case, "status", status, statuses, first=first)
        if aliases.shape != expected.shape:
            self._problem(case, f"aliases: expected uint8{list(expected.shape)}, got {list(aliases.shape)}")
            return
        same = (aliases.view(np.uint64) == expected.view(np.uint64)).all(axis=1)
        if not same.all():
            different = len(same) - np.count_nonzero(same)
            self._problem(case, f"aliases: expected the model's in all {len(same)} rows, got others in {different}")
        if first:
            answered = np.where(same, persons, WRONG)
            self._digest(case, "persons", answered if in_order else np.sort(answered))

    def check_equal(self, case: str, name: str, got: object, expected: object) -> None:
        """Compare a small answer, say a count or a list of plain values, and hash it."""
        self.rows += 1
        if got != expected:
            self._problem(case, f"{name}: expected the model's, got another")
        self._hash.update(f"{case}/{name}/{got!r}".encode())

    def _digest(self, case: str, name: str, column: npt.NDArray[np.generic]) -> None:
        self._hash.update(f"{case}/{name}/{column.dtype.str}/{column.shape}".encode())
        self._hash.update(np.ascontiguousarray(column).tobytes())

    def _problem(self, case: str, text: str) -> None:
        self.problems.append(f"{case}: {text}")
