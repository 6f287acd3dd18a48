"""Runs that were recorded with ``--json``, read back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from hub.bench.results import Result, Results
from hub.errors import RequestError


def read_run(path: Path) -> dict[str, Any]:
    """The JSON of a run, its ``results`` as :class:`Result`.

    Raises:
        RequestError: the file cannot be read, or is not a run's.
    """
    try:
        content: dict[str, Any] = msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
        content["results"] = msgspec.convert(content["results"], list[Result])
        if not isinstance(content["machine"], dict):
            raise KeyError("machine")
    except OSError as error:
        raise RequestError(f"read {path}: {error.strerror}") from None
    except (msgspec.MsgspecError, UnicodeDecodeError, KeyError):
        raise RequestError(f"{path}: expected the JSON of a run, got something else") from None
    return content


def results_of(content: dict[str, Any]) -> Results:
    """The results of a run that was read."""
    results = Results()
    results.rows = content["results"]
    return results
