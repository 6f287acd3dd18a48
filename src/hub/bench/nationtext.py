"""How a run of the nation shows itself: the text, the JSON. What was extrapolated stands in a column of its own."""

from __future__ import annotations

from typing import Any

from hub.bench.clocks import ABOUT
from hub.bench.machine import gib
from hub.bench.nationrun import NationRun
from hub.bench.report import number_text, rate_text

NATION = 125_000_000
"""Rows of the column that is extrapolated."""

_WIDTH = 12


def figures_of(run: NationRun) -> dict[str, float]:
    """What was measured, by name; seconds, bytes, rows a second."""
    found = run.measured
    rows = max(found.rows, 1)
    whole = found.asked_s + found.delivered_s
    return {
        "rows": found.rows,
        "asked_s": found.asked_s,
        "rows_per_s": found.rows / found.asked_s if found.asked_s else 0.0,
        "delivered_s": found.delivered_s,
        "rows_per_s_delivered": found.rows / whole if whole else 0.0,
        "merged_s": found.merged_s,
        "cpu_s": found.cpu_s,
        "cores_used": found.cpu_s / found.asked_s if found.asked_s else 0.0,
        "bytes_written": found.written,
        "bytes_written_per_row": found.written / rows,
        "bytes_read": found.read,
        "major_faults": found.faults,
        "live_bytes_per_row": found.live_bytes / rows,
        "disk_bytes": found.disk_bytes,
        "commits": found.commits,
        "memory_beside_map_bytes": found.anonymous_bytes,
        "memory_bench_rows_bytes": found.column_bytes,
        "built_s": run.built_s,
        "copied_s": run.copy_s,
        "warmed_s": run.warm_s,
    }


def document_of(run: NationRun, machine: dict[str, Any], *, complete: bool) -> dict[str, Any]:
    """The JSON."""
    figures = figures_of(run)
    factor = NATION / max(run.measured.rows, 1)
    return {
        "machine": machine,
        "commit": machine["commit"],
        "seed": run.sizes.seed,
        "answers": run.truth.hexdigest(),
        "complete": complete,
        "problems": run.truth.problems,
        "persons": run.sizes.persons,
        "inquiries": run.sizes.inquiries,
        "rows_of_an_inquiry": run.sizes.rows,
        "threads": run.sizes.threads,
        "measured": figures,
        "inquiry_s": run.measured.part_s,
        "where": {
            name: {"cpu_s": spent.cpu_s, "wall_s": spent.wall_s, "about": ABOUT[name]}
            for name, spent in run.measured.spent.items()
        },
        "extrapolated": {
            "rows": NATION,
            **{f"{name}": figures[name] * factor for name in ("asked_s", "delivered_s", "cpu_s", "bytes_written")},
        },
        "results": results_of(figures),
    }


def results_of(figures: dict[str, float]) -> list[dict[str, Any]]:
    """The measured figures as every bench's JSON has them."""
    names = (
        ("nation: whole", "rows_per_s", "rows_per_s", "rows/s"),
        ("nation: permits delivered", "rows_per_s_delivered", "rows_per_s", "rows/s"),
        ("nation: bytes written", "bytes_written_per_row", "bytes_per_row", "bytes"),
        ("nation: space of a record", "live_bytes_per_row", "bytes_per_row", "bytes"),
        ("nation: memory beside the map", "memory_beside_map_bytes", "bytes", "bytes"),
    )
    return [
        {"stage": "nation", "case": case, "metric": metric, "value": figures[name], "unit": unit}
        for case, name, metric, unit in names
        if figures[name]
    ]


def text_of(run: NationRun) -> str:
    """For a terminal of 100 columns."""
    found, figures = run.measured, figures_of(run)
    factor = NATION / max(found.rows, 1)

    def line(what: str, value: str, extrapolated: str = "") -> str:
        return f"{what:42}{value:>{_WIDTH}}{extrapolated:>{_WIDTH + 6}}".rstrip()

    def seconds(what: str, value: float) -> str:
        return line(what, f"{value:.1f} s", f"{value * factor:.1f} s")

    lines = [
        f"nation    {run.sizes.persons:,} persons; built in {run.built_s:.0f} s, copied in {run.copy_s:.0f} s, "
        f"tables read and checked in {run.warm_s:.1f} s",
    ]
    if not found.rows:
        return "\n".join(lines)
    lines += [
        line("", "measured", "extrapolated"),
        line("inquiries", f"{found.rows:,}", f"{NATION:,}"),
        seconds("first row to last durable chunk", found.asked_s),
        line("  rows a second", rate_text(figures["rows_per_s"])),
        seconds("then permits into all inboxes", found.delivered_s),
        line("  rows a second, permits delivered", rate_text(figures["rows_per_s_delivered"])),
        seconds("then index merged", found.merged_s),
        line("bytes written while asking", gib(found.written), gib(found.written * factor)),
        line("  a row", f"{figures['bytes_written_per_row']:.1f}"),
        line("space of the log, a row", f"{figures['live_bytes_per_row']:.1f}"),
        line("read from the disk while asking", gib(found.read)),
        line("major faults while asking", f"{found.faults:,}"),
        line("commits", f"{found.commits:,}"),
        line("memory beside the map, most", gib(found.anonymous_bytes)),
        line("  of it rows and answers of one inquiry", gib(found.column_bytes)),
        line("files at the end", gib(found.disk_bytes)),
        "",
        f"{'where the time went':24}{'cpu s':>12}{'wall s':>9}{'ns/row':>9}{'of cpu':>8}"
        f"  {figures['cores_used']:.2f} cores used",
    ]
    for name, spent in found.spent.items():
        share = spent.cpu_s / found.cpu_s if found.cpu_s else 0.0
        lines.append(
            f"  {name:10}{spent.cpu_s:>24.2f}{spent.wall_s:>9.2f}"
            f"{number_text(spent.cpu_s / found.rows * 1e9):>9}{share:>8.0%}  {ABOUT[name]}"
        )
    verdict = "all as the model's" if not run.truth.problems else f"{len(run.truth.problems)} differ from the model"
    lines.append(f"answers   {run.truth.hexdigest()}")
    lines.append(f"truth     {run.truth.rows:,} rows and facts checked, {verdict}")
    return "\n".join(lines)
