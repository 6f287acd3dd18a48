"""Curves as inline SVG for the page of ``hub.bench.html``: no script, nothing fetched, the colours are the page's.

A point may have a low and a high value, drawn as a bar through it; its numbers show when it is pointed at. A table of
all points stands below a plot, for whoever cannot see it, or wants to copy the numbers.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise

import msgspec
from markupsafe import Markup

WIDTH, HEIGHT = 760, 380
LEFT, RIGHT, TOP, BOTTOM = 70, 190, 14, 46
LABEL_WIDTH = 34
"""Of a number at an axis, about."""


class Point(msgspec.Struct, omit_defaults=True):
    """One measurement. ``low`` and ``high`` are the extremes of the repeats whose median ``y`` is."""

    x: float
    y: float
    low: float | None = None
    high: float | None = None


class Curve(msgspec.Struct):
    """What one plot shows.

    Attributes:
        name: a word, the same in every run. title, note: for people.
        x, y: what the axes say. series: name -> points, in the order in which they are drawn.
        log_y: whether the upright axis is logarithmic; the other one always is.
        stopped: why it does not go further, or "".
    """

    name: str
    title: str
    x: str
    y: str
    series: dict[str, list[Point]] = msgspec.field(default_factory=dict)
    log_y: bool = False
    note: str = ""
    stopped: str = ""

    def add(self, series: str, point: Point) -> None:
        """Enter a point."""
        self.series.setdefault(series, []).append(point)


class Scale:
    """Values to places on an axis from ``begin`` to ``end``, with the ticks that it shows."""

    def __init__(self, values: Iterable[float], begin: float, end: float, *, log: bool) -> None:
        found = [value for value in values if value > 0 or not log]
        low, high = (min(found), max(found)) if found else (1.0, 10.0)
        self.log = log
        if log:
            low, high = math.log10(low), math.log10(high)
            if high - low < 0.3:
                low, high = low - 0.15, high + 0.15
        else:
            low, high = 0.0, high * 1.05 or 1.0
        self._low, self._high, self._begin, self._end = low, high, begin, end

    def place(self, value: float) -> float:
        """Where a value stands."""
        at = math.log10(max(value, 1e-300)) if self.log else value
        return self._begin + (at - self._low) / (self._high - self._low) * (self._end - self._begin)

    def ticks(self) -> list[float]:
        """Round values on it."""
        if not self.log:
            return _even_ticks(self._high)
        decades = range(math.floor(self._low), math.ceil(self._high) + 1)
        steps = (1, 2, 5) if self._high - self._low < 3 else (1,)
        found = [step * 10.0**decade for decade in decades for step in steps]
        return [one for one in found if self._low - 1e-9 <= math.log10(one) <= self._high + 1e-9]


def _even_ticks(high: float) -> list[float]:
    step = 10 ** math.floor(math.log10(high / 4))
    step *= next((factor for factor in (1, 2, 5, 10) if high / (step * factor) <= 6), 10)
    return [step * number for number in range(int(high / step) + 1)]


def short_number(value: float) -> str:
    """1k, 2.5M, 0.4: three places, with the unit's letter."""
    for unit, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= unit * 0.9995:
            return f"{value / unit:.3g}{letter}"
    return f"{value:.3g}"


def draw(curve: Curve) -> Markup:
    """The plot, and its table."""
    return Markup("\n").join([_svg(curve), _table(curve)])


def _svg(curve: Curve) -> Markup:
    points = [point for series in curve.series.values() for point in series]
    x = Scale((point.x for point in points), LEFT, WIDTH - RIGHT, log=True)
    heights = [value for one in points for value in (one.y, one.low, one.high) if value is not None]
    y = Scale(heights, HEIGHT - BOTTOM, TOP, log=curve.log_y)
    parts = [
        Markup('<svg viewBox="0 0 {} {}" width="{}" role="img" aria-label="{}">').format(
            WIDTH, HEIGHT, WIDTH, f"{curve.title}: {curve.y} over {curve.x}"
        )
    ]
    parts += _axes(curve, x, y)
    labels = _spread([y.place(series[-1].y) for series in curve.series.values() if series])
    drawn = [(name, series) for name, series in curve.series.items() if series]
    for number, ((name, series), label) in enumerate(zip(drawn, labels, strict=True)):
        parts += _series(name, series, number % 6 + 1, x, y, label)
    return Markup("\n").join([*parts, Markup("</svg>")])


def _axes(curve: Curve, x: Scale, y: Scale) -> list[Markup]:
    bottom, right = HEIGHT - BOTTOM, WIDTH - RIGHT
    parts = []
    for tick in y.ticks():
        at = y.place(tick)
        parts.append(Markup('<path class="grid" d="M{} {:.1f}H{}"/>').format(LEFT, at, right))
        parts.append(
            Markup('<text class="muted" x="{}" y="{:.1f}" text-anchor="end">{}</text>').format(
                LEFT - 8, at + 4, short_number(tick)
            )
        )
    ticks = x.ticks()
    last = max((point.x for series in curve.series.values() for point in series), default=0.0)
    # Where the curve ends has its number, before others that would stand on it.
    if ticks and last > ticks[-1]:
        ticks = [*(tick for tick in ticks if x.place(last) - x.place(tick) > LABEL_WIDTH), last]
    for tick in ticks:
        at = x.place(tick)
        parts.append(Markup('<path class="axis" d="M{:.1f} {}v5"/>').format(at, bottom))
        parts.append(
            Markup('<text class="muted" x="{:.1f}" y="{}" text-anchor="middle">{}</text>').format(
                at, bottom + 18, short_number(tick)
            )
        )
    parts.append(Markup('<path class="axis" d="M{} {}H{}"/>').format(LEFT, bottom, right))
    middle = (LEFT + right) / 2
    parts.append(
        Markup('<text x="{:.0f}" y="{}" text-anchor="middle">{}</text>').format(middle, HEIGHT - 8, curve.x)
    )
    parts.append(
        Markup('<text transform="translate(14 {:.0f}) rotate(-90)" text-anchor="middle">{}</text>').format(
            (TOP + bottom) / 2, curve.y
        )
    )
    return parts


def _series(name: str, series: Sequence[Point], colour: int, x: Scale, y: Scale, label: float) -> list[Markup]:
    path = "L".join(f"{x.place(point.x):.1f} {y.place(point.y):.1f}" for point in series)
    parts = [Markup('<path class="s{} line" d="M{}"/>').format(colour, path)]
    for point in series:
        at, height = x.place(point.x), y.place(point.y)
        if point.low is not None and point.high is not None:
            bar = f"M{at:.1f} {y.place(point.low):.1f}V{y.place(point.high):.1f}"
            parts.append(Markup('<path class="s{} line" d="{}"/>').format(colour, bar))
        parts.append(
            Markup('<circle class="s{}" cx="{:.1f}" cy="{:.1f}" r="3.5"><title>{}</title></circle>').format(
                colour, at, height, f"{name}, {short_number(point.x)}: {short_number(point.y)}"
            )
        )
    last = series[-1]
    parts.append(
        Markup('<path class="grid" d="M{:.1f} {:.1f}L{} {:.1f}"/>').format(
            x.place(last.x) + 5, y.place(last.y), WIDTH - RIGHT + 12, label
        )
    )
    parts.append(
        Markup('<circle class="s{}" cx="{}" cy="{:.1f}" r="4"/>').format(colour, WIDTH - RIGHT + 18, label)
    )
    parts.append(Markup('<text x="{}" y="{:.1f}">{}</text>').format(WIDTH - RIGHT + 27, label + 4, name))
    return parts


def _spread(heights: Sequence[float], apart: float = 17.0) -> list[float]:
    """Places for labels as near to these as they can stand without covering each other, none below the axis."""
    order = sorted(range(len(heights)), key=heights.__getitem__)
    places = list(heights)
    for before, one in pairwise(order):
        places[one] = max(places[one], places[before] + apart)
    limit = float(HEIGHT - BOTTOM)
    for one in reversed(order):
        places[one] = min(places[one], limit)
        limit = places[one] - apart
    return places


def _table(curve: Curve) -> Markup:
    values = sorted({point.x for series in curve.series.values() for point in series})
    head = Markup("").join(Markup("<th>{}</th>").format(short_number(value)) for value in values)
    rows = []
    for name, series in curve.series.items():
        found = {point.x: point.y for point in series}
        cells = Markup("").join(
            Markup("<td>{}</td>").format(short_number(found[value]) if value in found else "") for value in values
        )
        rows.append(Markup("<tr><th scope=row>{}</th>{}</tr>").format(name, cells))
    caption = Markup("<caption>{}</caption>").format(f"{curve.y}; columns: {curve.x}")
    return Markup("<table>{}<thead><tr><th></th>{}</tr></thead><tbody>{}</tbody></table>").format(
        caption, head, Markup("").join(rows)
    )
