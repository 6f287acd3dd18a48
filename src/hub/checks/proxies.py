"""Compares proxies with the events that tell of them, and the two entries of each with one another."""

from __future__ import annotations

from hub.citizens.proxystate import AGENT, NAME, PRINCIPAL, ProxyState, parse_index, parse_proxy
from hub.errors import StorageError
from hub.protection.withholding import Office
from hub.records.events import NAME as EVENTS
from hub.records.events import EventKind, ToldProxy, read_told_as
from hub.storage.snapshot import Snapshot

_KINDS = (EventKind.PROXY_GRANTED, EventKind.PROXY_ENDED, EventKind.PROXY_CONFIRMED)


def check_proxies(snapshot: Snapshot, office: Office) -> None:
    """Check that every proxy stands as the last event of its two persons says.

    Raises:
        StorageError: the first thing that does not fit is named.
    """
    told: dict[tuple[int, int], tuple[int, int]] = {}
    for number, _, event in read_told_as(snapshot, office.vault, ToldProxy, _KINDS):
        if max(event.person, event.agent) >= snapshot.state.persons:
            raise StorageError(f"{EVENTS}: expected persons that there are, got others in event {number}")
        told[event.person, event.agent] = event.grant, event.state
    expected = {pair: stands for pair, stands in told.items() if stands[1] != ProxyState.ENDED}
    stored: dict[tuple[int, int], tuple[int, int]] = {}
    indexed: dict[tuple[int, int], int] = {}
    for key, value in snapshot.items(NAME, b""):
        if key[:1] == PRINCIPAL and len(key) == 9:
            one = parse_proxy(office.vault, key, value)
            stored[one.principal, one.agent] = one.grant, int(one.state)
        elif key[:1] == AGENT and len(key) == 9:
            principal, agent, grant = parse_index(key, value)
            indexed[principal, agent] = grant
        else:
            raise StorageError(f"{NAME}: expected entries by principal and by agent, got another")
    if stored != expected:
        raise StorageError(f"{NAME}: expected everybody's proxies as their events say, got others")
    if indexed != {pair: grant for pair, (grant, _) in stored.items()}:
        raise StorageError(f"{NAME}: expected the same proxies by agent as by principal, got others")
