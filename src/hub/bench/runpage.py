"""A run's JSON as a page: its figures, the hub beside its peers, shares of the limits, what was left out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from hub.bench.bars import Bar, bar_chart
from hub.bench.html import Page, Section
from hub.bench.report import LIMITS, bytes_text, limit_letter, micros_text, number_text, rate_text
from hub.bench.results import Result, Results, spread

HUB, PEER, LIMIT = 1, 2, 3
"""Series."""

COLUMNS = (
    ("rows/s", "rows_per_s", rate_text), ("ns/row", "ns_per_row", number_text), ("p50", "p50_us", micros_text),
    ("p99", "p99_us", micros_text), ("bytes", "bytes_per_row", number_text),
    ("x best peer", "ratio_to_best_peer", number_text), ("of limit", "share_of_limit", "{:.0%}".format),
)  # fmt: skip


def page_of(content: dict[str, Any]) -> Page:
    """The page of a run; ``content`` is its JSON, its results as :class:`Result`."""
    machine = content["machine"]
    results = Results()
    results.rows = content["results"]
    warnings = list(machine.get("warnings") or [])
    if not content["complete"]:
        warnings.insert(0, "This run did not end: what is missing was not measured.")
    warnings += [f"Wrong: {problem}" for problem in content["problems"]]
    sections = [
        *peer_sections(results),
        limit_section(results),
        Section("Figures", figures(results), "Medians of the repeats; ± is half the distance between the extremes. "
                "A case marked peer is another way to do the same rows, limit what the machine can do at best."),
        *text_sections(content),
    ]  # fmt: skip
    seconds = sum((content.get("stage_seconds") or {}).values())
    facts = {
        "command": content.get("command") or "unknown",
        "seed": str(content["seed"]),
        "took": f"{seconds:.0f} s" if seconds else "unknown",
        "answers": f"{content['answers']} ({content.get('rows_checked', 0):,} rows checked against a model)",
    }
    shown = [section for section in sections if section.body]
    return Page("hub: what it does a second", machine, shown, facts, warnings)


def figures(results: Results) -> str:
    """Every case in a table, by stage."""
    from markupsafe import Markup

    head = Markup("").join(Markup("<th scope=col>{}</th>").format(name) for name in ("case", "±", *named_columns()))
    rows = []
    stage = ""
    for case, metrics in results.cases_by_stage():
        name, _, rest = case.partition(": ")
        if name != stage:
            rows.append(Markup("<tr class=stage><th scope=rowgroup colspan={}>{}</th></tr>").format(
                2 + len(COLUMNS), name))  # fmt: skip
            stage = name
        cells = Markup("").join(Markup("<td>{}</td>").format(cell) for cell in cells_of(metrics))
        rows.append(Markup("<tr><th scope=row>{}</th>{}</tr>").format(rest, cells))
    return Markup("<table><thead><tr>{}</tr></thead><tbody>{}</tbody></table>").format(head, Markup("").join(rows))


def named_columns() -> list[str]:
    return [name for name, _, _ in COLUMNS]


def cells_of(metrics: dict[str, Result]) -> Iterator[str]:
    """The cells of one case."""
    rate = metrics.get("rows_per_s") or metrics.get("bytes_per_s")
    share = spread(rate) if rate else None
    yield "" if share is None else f"{share:.0%}"
    for _, metric, show in COLUMNS:
        found = metrics.get(metric)
        if metric == "rows_per_s" and "bytes_per_s" in metrics:
            yield f"{bytes_text(metrics['bytes_per_s'].value)}/s"
        else:
            yield show(found.value) if found else ""


def peer_sections(results: Results) -> Iterator[Section]:
    """For each set of peers a chart: the hub's cases that were compared with them, then they, fastest first."""
    compared: dict[str, list[str]] = {}
    for result in results.rows:
        if result.metric == "ratio_to_best_peer" and result.of:
            compared.setdefault(result.of.partition(" peer:")[0], []).append(result.case)
    rates = {result.case: result for result in results.rows if result.metric == "rows_per_s"}
    for prefix, cases in compared.items():
        peers = sorted((case for case in rates if case.startswith(f"{prefix} peer:")),
                       key=lambda case: -rates[case].value)  # fmt: skip
        best = rates[peers[0]].value
        bars = [bar_of(rates[case], case.partition(": ")[2], HUB, best) for case in cases]
        bars += [bar_of(rates[case], case.partition(" peer:")[2], PEER, None) for case in peers]
        yield Section(f"Beside peers: {prefix}", bar_chart(bars, title=prefix), "Rows a second, from zero.")


def bar_of(rate: Result, label: str, series: int, best: float | None) -> Bar:
    ratio = f", {number_text(rate.value / best)} x the best peer" if best else ""
    return Bar(label, rate.value, f"{rate_text(rate.value)}{ratio}", series, rate.low, rate.high)


def limit_section(results: Results) -> Section:
    """The shares of the limits that bind, highest first."""
    shares = sorted((result for result in results.rows if result.metric == "share_of_limit"), key=lambda r: -r.value)
    bars = []
    for result in shares:
        name = LIMITS[letter].name if (letter := limit_letter(result.of)) else result.of or ""
        bars.append(Bar(result.case, result.value, f"{result.value:.0%} of {name}", LIMIT))
    chart = bar_chart(bars, title="shares of limits", full=1.0) if bars else ""
    return Section("Share of the limit that binds", chart, "What the machine does at best, measured in the same run.")


def text_sections(content: dict[str, Any]) -> Iterator[Section]:
    """Notes, and what was left out."""
    from markupsafe import Markup

    for title, lines in (("Notes", content.get("notes")), ("Left out", content.get("left_out"))):
        items = Markup("").join(Markup("<li>{}</li>").format(line) for line in lines or ())
        yield Section(title, Markup("<ul>{}</ul>").format(items) if items else "")
