"""The client's calls take what the embedded hub's methods take, and refuse what they refuse."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pytest

from hub.hub import Hub
from hub.wire.caller import signature_of
from hub.wire.methods import METHODS

GIVEN: list[tuple[tuple[Any, ...], dict[str, Any]]] = [
    ((), {}), ((1,), {}), ((1, 2), {}), ((1, 2, 3), {}), ((1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12), {}),
    ((1,), {"timeout": 5}), ((1, 2), {"timeout": 5}), ((1, 2, 3), {"progress": None}), ((1, 2), {"color": 1}),
    ((), {"institution": "x", "limit": 3}), ((), {"inquiry": 1, "aliases": 2, "providers": 3}),
    ((1,), {"inquiry": 1, "aliases": 2, "providers": 3}), ((1, 2, 3), {"cases": 4, "withhold": 5, "consents": True}),
]  # fmt: skip


@pytest.mark.parametrize("name", [name for name in METHODS if not isinstance(getattr(Hub, name), property)])
def test_arguments_are_bound_as_python_binds_them(name: str) -> None:
    whole = inspect.signature(getattr(Hub, name))
    parameters = [*list(whole.parameters.values())[1:]]
    assert all(one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY) for one in parameters)
    parameters.append(inspect.Parameter("timeout", inspect.Parameter.KEYWORD_ONLY, default=None))
    expected, own = inspect.Signature(parameters), signature_of(name)
    for args, kwargs in GIVEN:
        bound = outcome(lambda args, kwargs: expected.bind(*args, **kwargs).arguments, args, kwargs)
        assert outcome(own.bind, args, kwargs) == bound


def outcome(bind: Callable[..., dict[str, Any]], args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any] | str:
    """What was bound, or the words of the error."""
    try:
        return dict(bind(args, kwargs))
    except TypeError as error:
        return str(error)
