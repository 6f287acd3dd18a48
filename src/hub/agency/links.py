"""Links: which own id stands for which alias; one own id has one alias, and one alias one own id.

Two indexes (``runs.py``), both kept in step by one transaction: ``links.alias``, the key of the alias -> hi, lo of the
own id, and ``links.own``, the key of the own id -> hi, lo of the alias. The key of an alias is its 16 bytes, mixed; an
own id's is in ``ownids.py``. An entry whose own id or alias is 0, 0 says that there is none any more.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from hub.agency.ownids import check_own_ids, decode_own_ids, raw_keys, short_texts
from hub.agency.runs import (
    Maps,
    Run,
    Words,
    due_merge,
    encode_runs,
    find_keys,
    merge_runs,
    mix_keys,
    newest_of,
    order_keys,
    read_runs,
    unmix_keys,
    write_blocks,
)
from hub.agency.store import AgencyStore, Reader
from hub.decode import decode_aliases
from hub.errors import RequestError, RowsError
from hub.limits import ROWS_PER_BATCH_MAX
from hub.messages import Aliases
from hub.storage.snapshot import Commit

BY_ALIAS, BY_OWN = "links.alias", "links.own"
_COLUMNS = 4

Bools = npt.NDArray[np.bool_]


class Linked(NamedTuple):
    """What a call did: rows added, rows that stood already, and links that gave way to others."""

    added: int
    same: int
    replaced: int


class Links:
    """The links of an open agency."""

    def __init__(self, store: AgencyStore, maps: Maps) -> None:
        self._store, self._maps = store, maps

    def __repr__(self) -> str:
        return "Links()"

    def link(self, own_ids: Any, aliases: Any, replace: bool) -> Linked:
        """See ``Agency.link``."""
        cells, rows = decode_own_ids(own_ids), decode_aliases(aliases)
        n = len(rows)
        if len(cells.start) != n or n > ROWS_PER_BATCH_MAX:
            raise RequestError(f"aliases: expected one an own id and at most {ROWS_PER_BATCH_MAX}, got {n}")
        check_own_ids(cells)
        raw, texts = raw_keys(cells)
        own, alias = mix_keys(raw), mix_keys(rows)
        with self._store.writer:
            with self._store.read() as reader:
                fresh = self._judge(reader, own, alias, replace)
                gone_own, gone_alias = self._replaced(reader, own, alias, fresh)
            same = n - len(fresh)
            if len(fresh):
                own, alias = (own[0][fresh], own[1][fresh]), (alias[0][fresh], alias[1][fresh])
                self._add(own, alias, gone_own, gone_alias, texts)
        return Linked(len(fresh), same, max(len(gone_own[0]), len(gone_alias[0])))

    def _judge(
        self, reader: Reader, own: tuple[Words, Words], alias: tuple[Words, Words], replace: bool
    ) -> npt.NDArray[np.intp]:
        """The rows that are new, each once.

        Raises:
            RowsError: an own id or an alias is there with two others, or stands otherwise and is not to be replaced.
        """
        order = order_keys(*own)
        same_own = _same_as_before(own, order)
        twice = same_own & _same_as_before(alias, order)
        wrong = same_own & ~twice
        by_alias = order_keys(*alias)
        again = _same_as_before(alias, by_alias) & ~_same_as_before(own, by_alias)
        bad = np.sort(np.concatenate((order[wrong], by_alias[again])))
        if len(bad):
            raise _doubles("links: expected one alias an own id and one own id an alias, got two", bad)
        keep = np.ones(len(order), np.bool_)
        keep[order[twice]] = False
        found, (hi, lo) = self._find(reader, BY_OWN, own)
        stands = found & (hi == alias[0]) & (lo == alias[1])
        keep &= ~stands
        if not replace:
            taken, _ = self._find(reader, BY_ALIAS, alias)
            other = keep & (found | taken)
            if other.any():
                message = "links: expected own ids and aliases that are free, or replace=True, got one that stands"
                raise _doubles(message, np.flatnonzero(other))
        return np.flatnonzero(keep)

    def _replaced(
        self, reader: Reader, own: tuple[Words, Words], alias: tuple[Words, Words], fresh: npt.NDArray[np.intp]
    ) -> tuple[tuple[Words, Words], tuple[Words, Words]]:
        """Own ids and aliases that have no counterpart any more when these rows are there."""
        own, alias = (own[0][fresh], own[1][fresh]), (alias[0][fresh], alias[1][fresh])
        found, old_alias = self._find(reader, BY_OWN, own)
        taken, old_own = self._find(reader, BY_ALIAS, alias)
        return (
            _without((old_own[0][taken], old_own[1][taken]), own),
            _without((old_alias[0][found], old_alias[1][found]), alias),
        )

    def _find(self, reader: Reader, name: str, keys: tuple[Words, Words]) -> tuple[Bools, list[Words]]:
        runs = read_runs(reader, name)
        if not runs:
            return np.zeros(len(keys[0]), np.bool_), [np.zeros(len(keys[0]), np.uint64) for _ in range(2)]
        found, values = find_keys(self._maps, runs, *keys)
        found &= (values[0] != 0) | (values[1] != 0)
        return found, values

    def _add(
        self, own: tuple[Words, Words], alias: tuple[Words, Words], gone_own: tuple[Words, Words],
        gone_alias: tuple[Words, Words], texts: dict[bytes, bytes],
    ) -> None:  # fmt: skip
        with self._store.read() as reader:
            before = {name: read_runs(reader, name) for name in (BY_ALIAS, BY_OWN)}
        added = {
            BY_ALIAS: _sorted_columns(alias, own, gone_alias),
            BY_OWN: _sorted_columns(own, alias, gone_own),
        }
        removed: list[int] = []
        with self._store.commit() as commit:
            numbers = self._store.next_files(commit, 2)
            for name, number in zip((BY_ALIAS, BY_OWN), numbers, strict=True):
                with self._store.write_file(number, 0) as handle:
                    blocks = write_blocks(handle, 0, iter([added[name]]))
                runs = [*before[name], Run(number, 0, _COLUMNS, blocks)]
                runs, gone = self._merge(commit, runs)
                removed += gone
                commit.put_sealed("runs", name.encode(), encode_runs(runs))
            for key, text in texts.items():
                commit.put_sealed("longids", key, text)
        self._maps.forget(removed)
        self._store.remove_files(removed)

    def _merge(self, commit: Commit, runs: list[Run]) -> tuple[list[Run], list[int]]:
        """Runs of one level become one of the next, as long as there are enough."""
        gone: list[int] = []
        while count := due_merge(runs):
            old, some = runs[:-count], runs[-count:]

            def judge(columns: list[Words], whole: bool = not old) -> list[Words]:
                columns = newest_of(columns)
                # Where nothing older is left, nothing has to say any more that there is none.
                stays = (columns[2] != 0) | (columns[3] != 0)
                return [column[stays] for column in columns] if whole and not stays.all() else columns

            (number,) = self._store.next_files(commit, 1)
            with self._store.write_file(number, 0) as handle:
                blocks = write_blocks(handle, 0, merge_runs(self._maps, some, judge))
            gone += [run.file for run in some]
            runs = [*old, Run(number, some[0].level + 1, _COLUMNS, blocks)] if blocks else old
        return runs, gone

    # -- look up

    def keys_of(self, reader: Reader, alias: tuple[Words, Words]) -> tuple[Bools, list[Words]]:
        """Mixed aliases -> bool[N] linked, and (hi, lo) of their own ids."""
        return self._find(reader, BY_ALIAS, alias)

    def aliases_of(self, own_ids: Any) -> tuple[Aliases, Bools]:
        """See ``Agency.aliases_of``."""
        cells = decode_own_ids(own_ids)
        check_own_ids(cells)
        raw, _ = raw_keys(cells)
        with self._store.read() as reader:
            found, (hi, lo) = self._find(reader, BY_OWN, mix_keys(raw))
        aliases = unmix_keys(hi, lo)
        aliases[~found] = 0
        return aliases, found

    def own_ids_of(self, aliases: Any) -> list[str | None]:
        """See ``Agency.own_ids_of``."""
        rows = decode_aliases(aliases)
        with self._store.read() as reader:
            found, (hi, lo) = self.keys_of(reader, mix_keys(rows))
            raw = unmix_keys(hi, lo)
            out: list[str | None] = [None] * len(rows)
            at = np.flatnonzero(found)
            for row, text in zip(at.tolist(), short_texts(raw[at]), strict=True):
                if text is None:
                    kept = reader.get("longids", raw[row].tobytes())
                    text = None if kept is None else kept.decode()
                out[row] = text
        return out

    def count(self, reader: Reader) -> int:
        """Links, about: one that was replaced and not merged yet counts twice."""
        return sum(run.rows for run in read_runs(reader, BY_OWN))


def files_named(reader: Reader) -> dict[int, int]:
    """Files of the links, and their bytes."""
    return {run.file: run.bytes for name in (BY_ALIAS, BY_OWN) for run in read_runs(reader, name)}


def _same_as_before(keys: tuple[Words, Words], order: npt.NDArray[np.integer]) -> Bools:
    """bool[N]: whether each row in this order has the key of the one before it."""
    hi, lo = keys[0][order], keys[1][order]
    out = np.zeros(len(order), np.bool_)
    out[1:] = (hi[1:] == hi[:-1]) & (lo[1:] == lo[:-1])
    return out



def _sorted_columns(
    keys: tuple[Words, Words], values: tuple[Words, Words], gone: tuple[Words, Words]
) -> list[Words]:
    none = np.zeros(len(gone[0]), np.uint64)
    columns = [
        np.concatenate((keys[0], gone[0])), np.concatenate((keys[1], gone[1])),
        np.concatenate((values[0], none)), np.concatenate((values[1], none)),
    ]  # fmt: skip
    order = order_keys(columns[0], columns[1])
    return [column[order] for column in columns]


def _without(some: tuple[Words, Words], others: tuple[Words, Words]) -> tuple[Words, Words]:
    """Those keys that are not among others."""
    if not len(some[0]):
        return some
    kind = np.dtype([("hi", "<u8"), ("lo", "<u8")])
    pairs = []
    for hi, lo in (some, others):
        made = np.empty(len(hi), kind)
        made["hi"], made["lo"] = hi, lo
        pairs.append(made)
    stays = np.unique(pairs[0])
    stays = stays[~np.isin(stays, pairs[1])]
    return np.ascontiguousarray(stays["hi"]), np.ascontiguousarray(stays["lo"])


def _doubles(message: str, rows: npt.NDArray[np.integer]) -> RowsError:
    return RowsError(f"{message} in row {int(rows[0])}", rows=rows.tolist(), cause="double")
