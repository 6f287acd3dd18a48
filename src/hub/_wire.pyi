"""Public names of the intake of single inquiries. Bytes and errors stand in the docstrings of ``_wire.pyx``."""

from typing import Any

import numpy as np
import numpy.typing as npt

from hub.errors import HubError

NATIVE: bool

class Prepared:
    question: Any
    def __init__(self, question: Any, requester: str) -> None: ...

class Turn:
    connections: list[Any]
    errors: dict[int, HubError]
    def __init__(self, name: int) -> None: ...
    def __len__(self) -> int: ...
    def calls(self) -> list[tuple[Any, int]]: ...
    def account(self, row: int) -> Any: ...
    def accounts(self, first: int) -> dict[Any, int]: ...
    def columns(self) -> tuple[Any, ...]: ...
    def encode(
        self,
        status: npt.NDArray[np.uint8],
        rule: npt.NDArray[np.uint32],
        reason: npt.NDArray[np.uint8],
        received_at: npt.NDArray[np.int64],
        errors: dict[int, HubError],
    ) -> None: ...
    def deliver(self) -> list[tuple[int, Any, int]]: ...

class Wired:
    _open: dict[int, Any]
    _uploads: dict[int, Any]
    _dropped: dict[int, int]
    _transport: Any
    _version: int | None
    _ending_at: float
    _called_at: float
    _halted: bool
    _clear: bool
    _party_number: int
    _intake: Intake
    def data_received(self, data: bytes) -> None: ...

class Intake:
    turn: Turn
    told: bool
    now: float
    taken: int
    prepared: int
    def __init__(self, host: Any, open_max: int) -> None: ...
    def __len__(self) -> int: ...
    def party(self, name: str, institutions: frozenset[str]) -> int: ...
    def forget(self) -> None: ...
    def next(self) -> Turn: ...
    def take(self, connection: Wired, data: bytes) -> int: ...
    def take_message(self, connection: Wired, message: memoryview) -> bool: ...

def read_single(message: bytes) -> tuple[int, bytes, bytes, bytes, bytes, bytes, bytes, bool] | None: ...
