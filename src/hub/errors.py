"""Everything the hub raises, by whose fault it is and whether asking again is safe.

``RequestError``  the caller's mistake; nothing was changed.
``RowsError``     the same, with the rows of a call for which it is so.
``BusyError``     the hub is full or the folder is held elsewhere; ask again later.
``ProofError``    what was to be proved is not: the proof is refused, with the reason.
``CatalogError``  the legal basis as loaded contradicts itself or lacks what was named.
``StorageError``  our failure: disk, format, checksum.
``FullError``     of these: no room on the disk or in the map; the same call succeeds when there is some.
``TamperError``   the log contradicts itself; nothing is served until somebody has looked.

No message holds an alias, a person, a resident record code or an answer.
"""

from __future__ import annotations

import errno

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""What the system says where there is no room: on the disk, in a quota of it, in a file."""


class HubError(Exception):
    """Base of all errors. ``code`` is stable and is what travels over the wire.

    Attributes:
        code: a short word in lower case, the same in every release.
        retry_safe: whether the same call may be made again and may then succeed.
    """

    code = "error"
    retry_safe = False

    def __init__(self, message: str, *, retry_safe: bool | None = None) -> None:
        super().__init__(message)
        if retry_safe is not None:
            self.retry_safe = retry_safe


class RequestError(HubError):
    """The request is not well formed or names what does not exist; nothing was changed."""

    code = "request"


class RowsError(RequestError):
    """Some rows of a call do not fit; nothing was changed. Without them the same call may be given again.

    Attributes:
        rows: their places in the call, ascending. cause: a short word in lower case, the same in every release.
    """

    def __init__(self, message: str, *, rows: list[int], cause: str) -> None:
        super().__init__(message)
        self.rows = rows
        self.cause = cause


class BusyError(RequestError):
    """The hub cannot take the request now; the same request may be sent after ``retry_after_s``."""

    code = "busy"
    retry_safe = True

    def __init__(self, message: str, *, retry_after_s: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class ProofError(RequestError):
    """A proof, a checkpoint or a verifier key does not hold; the message is the reason."""

    code = "proof"


class StorageError(HubError):
    """Stored bytes could not be read, checked or written. What was acknowledged before stays acknowledged."""

    code = "storage"


class FullError(StorageError):
    """There is no room for what was to be written; nothing of this step was kept, and reading goes on."""

    retry_safe = True


class TamperError(HubError):
    """The record log contradicts itself or its head; the service stops."""

    code = "tamper"


class CatalogError(HubError):
    """The legal basis is not consistent, or a table of it cannot be read."""

    code = "catalog"
