"""How a run shows itself: the progress line, the table, the JSON."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any, NamedTuple, TextIO

import msgspec

from hub.bench.results import Result, Results, spread

WIDTH = 100
CASE_WIDTH = 42

class LimitKind(NamedTuple):
    """A kind of limit, and by which words the case that measured it is told."""

    name: str
    about: str
    signs: tuple[str, ...]


LIMITS = {
    "f": LimitKind("random fetches", "two dependent ones a row (a miss: one) over as many bytes, prefetched",
                   (" hits limit ", " misses limit ")),
    "t": LimitKind("one take", "a look-up a row in a small table, nothing else", ("authorise: ",)),
    "h": LimitKind("hashing", "SHA-256 of the entries, leaves and nodes, nothing else",
                   ("limit hashing", "hashing of a p")),
    "w": LimitKind("writing", "as many bytes in one piece, and a sync", ("limit write",)),
    "s": LimitKind("syncing", "a commit and a sync of next to nothing, for as many callers",
                   ("singles limit", "limit syncs", "durable commit")),
    "d": LimitKind("reading", "as many pages as were waited for, one by one, from a disk",
                   ("limit reads",)),
    "p": LimitKind("touching", "a byte of as many pages of the file, mapped anew", ("limit touches",)),
    "o": LimitKind("making objects", "as many payloads cut out of one piece, in Python", ("limit objects",)),
    "b": LimitKind("a bare server", "the same HTTP server with such a page ready", ("portal: limit",)),
    "e": LimitKind("an echo", "TLS and an event loop that answers at once", ("wire: limit",)),
}  # fmt: skip
"""By the letter that stands beside a share of the limit."""


class Progress:
    """One line on stderr that is rewritten; without a terminal, one line for each step that takes a while."""

    QUIET_SECONDS = 2.0

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._start = time.monotonic()
        self._shown = self._start - self.QUIET_SECONDS
        self._terminal = self._stream.isatty()

    def step(self, text: str) -> None:
        """Say what is being done now."""
        now = time.monotonic()
        line = f"{now - self._start:4.0f} s  {text}"
        if self._terminal:
            print(f"\r\x1b[K{line[: WIDTH - 1]}", end="", file=self._stream, flush=True)
        elif now - self._shown >= self.QUIET_SECONDS:
            print(line, file=self._stream, flush=True)
            self._shown = now

    def clear(self) -> None:
        """Leave the terminal's line empty for what is printed next."""
        if self._terminal:
            print("\r\x1b[K", end="", file=self._stream, flush=True)


def table(results: Results) -> str:
    """The results as text of at most WIDTH columns: a line a case, its metrics side by side."""
    head = (
        f"{'':{CASE_WIDTH}}{'rows/s':>8}{'ns/row':>8}{'±':>5}{'p50':>8}{'p99':>8}{'B/row':>7}{'x peer':>7}{'limit':>7}"
    )
    lines = [head]
    stage = ""
    for case, metrics in results.cases_by_stage():
        name, _, rest = case.partition(": ")
        if name != stage:
            lines.append(name)
            stage = name
        lines.append(f"  {rest:{CASE_WIDTH - 2}.{CASE_WIDTH - 2}}{_cells(metrics)}".rstrip())
    return "\n".join(lines)


def _cells(metrics: dict[str, Result]) -> str:
    def cell(name: str, width: int, show: Any) -> str:
        result = metrics.get(name)
        return f"{show(result.value) if result else '':>{width}}"

    rate = metrics.get("rows_per_s")
    share = spread(rate) if rate else None
    bound = metrics.get("share_of_limit")
    return (
        (cell("bytes_per_s", 8, bytes_text) if "bytes_per_s" in metrics else cell("rows_per_s", 8, rate_text))
        + cell("ns_per_row", 8, number_text)
        + f"{'' if share is None else f'{share:.0%}':>5}"
        + cell("p50_us", 8, micros_text)
        + cell("p99_us", 8, micros_text)
        + cell("bytes_per_row" if "bytes_per_row" in metrics else "bytes_per_connection", 7, number_text)
        + cell("ratio_to_best_peer", 7, number_text)
        + (f"{bound.value:>5.0%} {limit_letter(bound.of):1}" if bound else "")
    )


def limit_letter(case: str | None) -> str:
    """Which kind of limit this case is; nothing for one that is not known."""
    for letter, kind in LIMITS.items():
        if case and any(sign in case for sign in kind.signs):
            return letter
    return ""


def limits_text(results: Results) -> list[str]:
    """What the letters of the column ``limit`` mean, those that were used."""
    used = {limit_letter(result.of) for result in results.rows if result.metric == "share_of_limit"}
    lines = [f"{letter} {kind.name}: {kind.about}" for letter, kind in LIMITS.items() if letter in used]
    return [f"{'limit' if number == 0 else '':10}{line}" for number, line in enumerate(lines)]


def bytes_text(value: float) -> str:
    """Bytes a second: 2.1 GB."""
    for unit, letter in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if value >= unit:
            return f"{number_text(value / unit)} {letter}"
    return f"{number_text(value)} B"


def rate_text(value: float) -> str:
    """31.2 M, 480 k, 12: rows a second in four significant places at most."""
    for unit, letter in ((1e6, "M"), (1e3, "k")):
        if value >= unit:
            return f"{number_text(value / unit)} {letter}"
    return number_text(value)


def number_text(value: float) -> str:
    """Three significant places, none beyond the point from 100 on."""
    if value >= 100:
        return f"{value:,.0f}" if value < 100_000 else f"{value:.2g}"
    return f"{value:.3g}"


def micros_text(value: float) -> str:
    """Microseconds, or milliseconds or seconds where those read better."""
    if value >= 1e6:
        return f"{number_text(value / 1e6)} s"
    if value >= 1e3:
        return f"{number_text(value / 1e3)} ms"
    return f"{number_text(value)} us"


def machine_text(machine: dict[str, Any]) -> str:
    """The machine block for people, three lines."""

    def known(value: Any) -> str:
        return "unknown" if value is None else str(value)

    memory = machine["memory_bytes"]
    commit = machine["commit"]
    version = "no commit" if commit is None else commit[:12] + (" + changes" if machine["dirty"] else "")
    return "\n".join((
        f"machine   {machine['cpu']}, {machine['cores']} cores, "
        f"{'unknown' if memory is None else f'{memory / (1 << 30):.0f} GiB'}, {machine['kernel']}, "
        f"governor {known(machine['governor'])}",
        f"software  {machine['python']}, numpy {machine['numpy']}, LMDB {machine['lmdb']}, "
        f"core {machine['flags']} ({known(machine.get('compiler'))}, Cython {known(machine.get('cython'))}), {version}",
        f"disk      {known(machine['filesystem'])}, fdatasync of 4 KiB {machine['fsync_us']:.0f} us",
    ))  # fmt: skip


def document(
    machine: dict[str, Any], results: Results, *, seed: int, answers: str, complete: bool, problems: list[str],
    **further: Any,
) -> dict[str, Any]:
    """The JSON of a run. ``complete`` is false for one that was interrupted. further: command, stage_seconds, notes,
    left_out, rows_checked."""
    return {
        "machine": machine,
        "commit": machine["commit"],
        "seed": seed,
        "answers": answers,
        "complete": complete,
        "problems": problems,
        **further,
        "results": results.rows,
    }  # fmt: skip


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write a run's JSON; an older file of that name stays until the new one is whole."""
    partial = path.with_name(path.name + ".partial")
    partial.write_bytes(msgspec.json.format(msgspec.json.encode(content), indent=1) + b"\n")
    partial.replace(path)
