"""Horizontal bars as inline SVG, in the colours of the page (``html.py``)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

ROW, BAR, LABEL, LENGTH, VALUE = 22, 12, 330, 420, 220
"""Heights and widths in pixels: of a row, of its bar; of the label before it, the longest bar, the value behind it."""


class Bar(NamedTuple):
    """One bar. ``series`` is its colour, 1 to 6; low and high, if there are any, the extremes of its repeats."""

    label: str
    value: float
    text: str
    series: int = 1
    low: float | None = None
    high: float | None = None


def bar_chart(bars: Sequence[Bar], *, title: str, full: float | None = None) -> str:
    """Bars below each other, from zero; ``full`` draws a track of that length behind each."""
    from markupsafe import Markup

    longest = full or max((bar.high or bar.value for bar in bars), default=1.0) or 1.0

    def x(value: float) -> str:
        return f"{LABEL + LENGTH * min(value, longest) / longest:.1f}"

    width, height = LABEL + LENGTH + VALUE, ROW * len(bars) + 4
    parts = [Markup('<svg role="img" viewBox="0 0 {} {}" width="{}" height="{}"><title>{}</title>').format(
        width, height, width, height, title)]  # fmt: skip
    for number, bar in enumerate(bars):
        top = number * ROW + 2
        middle = top + ROW / 2
        bar_top = f"{middle - BAR / 2:.1f}"
        parts.append(Markup('<text x="{}" y="{}" text-anchor="end">{}</text>').format(
            LABEL - 8, f"{middle + 4:.1f}", bar.label))  # fmt: skip
        if full is not None:
            parts.append(Markup('<rect class="track" x="{}" y="{}" width="{}" height="{}"/>').format(
                LABEL, bar_top, LENGTH, BAR))  # fmt: skip
        parts.append(Markup('<path class="s{}" d="M{} {}H{}v{}H{}z"/>').format(
            bar.series, LABEL, bar_top, x(bar.value), BAR, LABEL))  # fmt: skip
        if bar.low is not None and bar.high is not None and bar.high > bar.low:
            parts.append(Markup('<path class="axis" stroke-width="2" d="M{} {}H{}"/>').format(
                x(bar.low), f"{middle:.1f}", x(bar.high)))  # fmt: skip
        behind = f"{float(x(max(bar.value, bar.high or 0, full or 0))) + 8:.1f}"
        parts.append(Markup('<text class="muted" x="{}" y="{}">{}</text>').format(
            behind, f"{middle + 4:.1f}", bar.text))  # fmt: skip
    return Markup("").join([*parts, Markup("</svg>")])
