"""Write the figures in README.md from the recorded runs in bench/results, or check that they agree.

    python tools/readme_table.py            # rewrite what stands between the two comment markers
    python tools/readme_table.py --check    # exit 1 where README says something else

Each row names its cases; of the files below, the first that has a row's first case gives all of the row, and its commit
is named where it is not the first file's. What no file has is left out.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from hub.bench.recorded import read_run, results_of
from hub.bench.report import micros_text, number_text, rate_text
from hub.errors import RequestError

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
RUNS = ("", "-exchange", "-nation", "-wire", "-portal")
FILES = tuple(ROOT / "bench" / "results" / f"epyc-2-cores{name}.json" for name in RUNS)
BEGIN, END = "<!-- figures: made by tools/readme_table.py -->\n", "<!-- figures end -->\n"
OK, FOUND, USAGE = 0, 1, 2

# What; the cases whose rates stand in the second column; what stands beside: text with {} for a figure, case, metric.
ROWS: tuple[tuple[str, tuple[str, ...], tuple[tuple[str, str, str], ...]], ...] = (
    ("resolve, 10 M persons, 1 thread: hits / misses / provider knows 1 in 1,700",
     ("resolve: 10M hits 1 thread", "resolve: 10M misses 1 thread", "resolve: 10M not held 1 thread"),
     (("fetches alone {}", "resolve: 10M hits limit 1 thread", "rows_per_s"),
      ("DuckDB (2 threads) {}", "resolve: 10M hits peer:duckdb", "rows_per_s"),
      ("Polars {}", "resolve: 10M hits peer:polars", "rows_per_s"),
      ("dict {}", "resolve: 10M hits peer:dict", "rows_per_s"),
      ("LMDB `getmulti` {}", "resolve: 10M hits peer:lmdb-getmulti", "rows_per_s"),
      ("LMDB `get` loop {}", "resolve: 10M hits peer:lmdb", "rows_per_s"))),
    ("the same, 2 threads: hits / misses",
     ("resolve: 10M hits 2 threads", "resolve: 10M misses 2 threads"),
     (("fetches alone {}", "resolve: 10M hits limit 2 threads", "rows_per_s"),
      ("at 1 M persons RocksDB {}", "resolve: 1M hits peer:rocksdb", "rows_per_s"),
      ("Redis {}", "resolve: 1M hits peer:redis", "rows_per_s"),
      ("PostgreSQL {}", "resolve: 1M hits peer:postgresql", "rows_per_s"),
      ("sqlite3 {}", "resolve: 1M hits peer:sqlite3", "rows_per_s"))),
    ("acquire 10 M: new persons / known ones, durable",
     ("acquire: 10M new", "acquire: 10M known"),
     (("sorted load of 1 M: LMDB {}", "acquire: 1M new peer:lmdb", "rows_per_s"),
      ("DuckDB {}", "acquire: 1M new peer:duckdb", "rows_per_s"))),
    ("70,000 aliases into a hub of 10 M, durable",
     ("acquire: 10M hub, 70k by one more body",),
     (("{} bytes written an alias", "acquire: 10M hub, 70k by one more body", "bytes_per_row"),)),
    ("inquiry whole: authorised, resolved, recorded, in the tree, synced, answered",
     ("inquiry: whole",),
     (("hashing alone {}", "record: limit hashing", "rows_per_s"),
      ("{} bytes written a row", "inquiry: bytes written", "bytes_per_row"),
      ("rows appended alone: sqlite3 {}", "record: 262k records peer:sqlite3 WAL", "rows_per_s"),
      ("PostgreSQL {}", "record: 262k records peer:postgresql", "rows_per_s"),
      ("pymerkle {}", "record: 262k records peer:pymerkle", "rows_per_s"))),
    ("the same with its permits delivered to 1,741 providers",
     ("inquiry: permits delivered",), ()),
    ("the nation: 125 M rows really asked over 62.5 M persons, permits delivered, first row to last inbox",
     ("nation: permits delivered",),
     (("{} bytes written a row", "nation: bytes written", "bytes_per_row"),
      ("{} of log a row", "nation: space of a record", "bytes_per_row"))),
    ("single inquiries, durable, sharing commits: 64 coroutines / 64 threads",
     ("inquiry: singles 64 coroutines", "inquiry: singles 64 threads"),
     (("p99 {}", "inquiry: singles 64 coroutines", "p99_us"), ("and {}", "inquiry: singles 64 threads", "p99_us"),
      ("syncs alone {}", "inquiry: singles limit", "rows_per_s"),
      ("one caller {}", "inquiry: 10M persons single", "p50_us"))),
    ("authorise, 1,741 providers", ("authorise: 1M rows 1,741 providers 1 thread",), ()),
    ("exchange whole: inquire, collect, provide with 16 bytes, answers; 10 M rows, 1,741 providers",
     ("exchange: whole",),
     (("inquire {}", "exchange: inquire", "rows_per_s"),
      ("collect and provide {}", "exchange: collect and provide", "rows_per_s"),
      ("answers {}", "exchange: answers", "rows_per_s"),
      ("{} bytes written a row", "exchange: whole", "bytes_per_row"))),
    ("exchange, one row to a provider that answers at once",
     (),
     (("p50 {}", "exchange: single", "p50_us"), ("p99 {}", "exchange: single", "p99_us"),
      ("inquire {}", "exchange: single inquire", "p50_us"),
      ("provide {}", "exchange: single provide", "p50_us"))),
    ("a citizen's 100 records with all their proofs",
     (),
     (("p50 {}", "prove: 4.07M records page of 100", "p50_us"),
      ("p99 {}", "prove: 4.07M records page of 100", "p99_us"),
      ("out of memory p50 {}", "history: 4M records cold", "p50_us"))),
    ("one record with its proof; consistency of two checkpoints",
     (),
     (("p50 {}", "prove: 4.07M records single", "p50_us"),
      ("consistency {}", "prove: 4.07M records consistency", "p50_us"))),
    ("bulk inquiry over TLS, client and server on the same two cores",
     ("wire: bulk",),
     (("Redis, two pipelined GETs a row, {}", "wire: bulk peer:redis GET x 2, 200k, no TLS", "rows_per_s"),)),
    ("single inquiries over TLS, durable: 64 / 256 connections",
     ("wire: single 64 connections", "wire: single 256 connections"),
     (("p99 {}", "wire: single 64 connections", "p99_us"), ("and {}", "wire: single 256 connections", "p99_us"),
      ("at 15,000/s {}", "wire: single 64 connections 15,000/s", "p99_us"),
      ("a bare TLS echo {}", "wire: limit 64 connections", "rows_per_s"))),
    ("the portal's pages of a citizen's 100 / 25 records, 99 M records in the log",
     ("portal: pages", "portal: pages of 25"),
     (("p99 at 200 and 500 a second {}", "portal: pages 200/s", "p99_us"),
      ("and {}", "portal: pages of 25 500/s", "p99_us"))),
)  # fmt: skip

SHOW: dict[str, Callable[[float], str]] = {
    "rows_per_s": rate_text, "p50_us": micros_text, "p99_us": micros_text, "bytes_per_row": number_text,
}  # fmt: skip


def main(argv: Sequence[str] | None = None) -> int:
    """Rewrite or check; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="change nothing")
    parser.add_argument("--readme", type=Path, default=README, metavar="FILE")
    parser.add_argument("files", nargs="*", type=Path, metavar="FILE.json", help="default: the recorded ones")
    given = parser.parse_args(argv)
    try:
        text = given.readme.read_text(encoding="utf-8")
        made = made_text([read_run(path) for path in given.files or FILES])
        before, after = around(text)
    except (RequestError, OSError) as error:
        cause = error if isinstance(error, RequestError) else f"read {given.readme}: {error.strerror}"
        print(f"readme_table: {cause}", file=sys.stderr)
        return USAGE
    if before + made + after == text:
        return OK
    if given.check:
        print(f"readme_table: {given.readme.name}: expected the recorded figures, got others", file=sys.stderr)
        return FOUND
    given.readme.write_text(before + made + after, encoding="utf-8")
    return OK


def around(text: str) -> tuple[str, str]:
    """What stands before and behind the figures, the markers with it."""
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise RequestError(f"README: expected {BEGIN.strip()} and behind it {END.strip()}, got none or several")
    return text[: text.index(BEGIN) + len(BEGIN)], text[text.index(END) :]


def made_text(runs: list[dict[str, Any]]) -> str:
    """The sentence and the table between the markers."""
    return "\n".join([introduction(runs[0]), "", "| what | rows/s | beside it |", "|---|---|---|", *rows(runs), ""])


def introduction(run: dict[str, Any]) -> str:
    machine = run["machine"]
    seconds = sum((run.get("stage_seconds") or {}).values())
    took = f" ({seconds:.0f} s)" if seconds else ""
    command = run.get("command") or "python -m hub.bench"
    warned = "".join(f" Warned of: {warning}." for warning in machine.get("warnings") or ())
    return (
        f"`{command}`{took} at commit {short(run)}, {machine['cpu']}, {machine['cores']} cores, "
        f"{machine['memory_bytes'] / (1 << 30):.0f} GiB, {machine['filesystem']};\n"
        f"the whole run is in `bench/results/`. "
        f"Medians; every answer checked against a model. Peers in the same run, at the same size.{warned}"
    )


def short(run: dict[str, Any]) -> str:
    return str(run["commit"])[:7] + (" with changes" if run["machine"].get("dirty") else "")


def rows(runs: list[dict[str, Any]]) -> Iterator[str]:
    """The table's rows."""
    for what, cases, beside in ROWS:
        first = (cases[0], "rows_per_s") if cases else beside[0][1:]
        run = next((run for run in runs if results_of(run).find(*first) is not None), None)
        if run is None:
            continue
        results = results_of(run)
        rates = [rate_text(found) for case in cases if (found := results.find(case, "rows_per_s")) is not None]
        parts = [text.format(SHOW[metric](found)) for text, case, metric in beside
                 if (found := results.find(case, metric)) is not None]  # fmt: skip
        if run["commit"] != runs[0]["commit"]:
            parts.append(f"commit {short(run)}")
        cells = what, " / ".join(rates), "; ".join(parts).replace("; and ", " and ")
        yield "|" + "|".join(f" {cell} " if cell else " " for cell in cells) + "|"


if __name__ == "__main__":
    sys.exit(main())
