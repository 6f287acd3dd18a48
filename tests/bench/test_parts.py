"""The bench's parts: ratios, names of sizes, medians, warnings, invented municipalities."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest

from hub.bench import machine
from hub.bench.__main__ import command_of
from hub.bench.measure import CASE_SECONDS, Timing, percentiles_us, repeat
from hub.bench.report import WIDTH, Progress, limit_letter, limits_text, micros_text, number_text, rate_text, table
from hub.bench.results import Results, size_name, spread
from hub.bench.towns import TOWNS, invented_csv, towns_of, with_towns
from hub.bench.truth import Truth
from hub.bench.world import weighed_sizes
from hub.catalog import Catalog
from hub.messages import Status


@pytest.mark.parametrize(
    ("rows", "name"),
    [(10_000_000, "10M"), (1_000_000, "1M"), (999_999, "1M"), (4_613_734, "4.61M"), (200_000, "200k"), (70, "70")],
)
def test_sizes_are_spelt_short(rows: int, name: str) -> None:
    assert size_name(rows) == name


def test_a_timing_is_its_median_with_the_extremes() -> None:
    assert Timing(100, (1.0, 2.0, 4.0)).rates() == (50.0, 25.0, 100.0)


def test_a_slow_call_runs_once_and_a_fast_one_warms_up(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("time.perf_counter", lambda: now[0])

    def call(seconds: float) -> None:
        now[0] += seconds

    calls: list[int] = []
    slow = repeat(1, lambda i: call(CASE_SECONDS * 2), lambda i, _: calls.append(i))
    assert (slow.seconds, calls) == ((CASE_SECONDS * 2,), [0])
    calls.clear()
    fast = repeat(1, lambda i: call(1.0 if i == 0 else 0.1), lambda i, _: calls.append(i), repeats=3)
    assert fast.seconds == pytest.approx((0.1, 0.1, 0.1))
    assert calls == [0, 1, 2, 3]


def test_percentiles_are_in_microseconds() -> None:
    p50, p99 = percentiles_us([i * 1e-6 for i in range(101)])
    assert (p50, p99) == (pytest.approx(50), pytest.approx(99))


def test_a_ratio_needs_a_peer_and_a_limit_of_the_case() -> None:
    results = Results()
    results.add_timing("resolve: 1M hits", Timing(100, (1.0,)))
    results.add_timing("resolve: 1M hits peer:a", Timing(100, (2.0,)))
    results.add_timing("resolve: 1M hits peer:b", Timing(100, (4.0,)))
    results.compare("resolve: 1M hits", peers=["resolve: 1M hits peer:a", "resolve: 1M hits peer:b"], limit="none")
    assert results.find("resolve: 1M hits", "ratio_to_best_peer") == 2.0
    assert results.find("resolve: 1M hits", "share_of_limit") is None
    results.compare("resolve: 9M hits", peers=["resolve: 1M hits peer:a"])
    assert results.find("resolve: 9M hits", "ratio_to_best_peer") is None


def test_of_several_limits_the_lowest_binds_and_is_named() -> None:
    results = Results()
    results.add_timing("inquiry: whole", Timing(100, (1.0,)))
    results.add("inquiry: whole limit write", "rows_per_s", 400)
    results.add("record: limit hashing", "rows_per_s", 200)
    results.compare("inquiry: whole", limits=["inquiry: whole limit write", None, "record: limit hashing", "none"])
    (share,) = (result for result in results.rows if result.metric == "share_of_limit")
    assert (share.value, share.of, limit_letter(share.of)) == (0.5, "record: limit hashing", "h")
    assert "50% h" in table(results)
    assert [line.split()[:3] for line in limits_text(results)] == [["limit", "h", "hashing:"]]


def test_a_latency_is_held_against_the_limits_median() -> None:
    results = Results()
    results.add_latency("acquire: 1M single", [4e-3, 4e-3])
    results.add_latency("limits: durable commit", [1e-3, 1e-3])
    results.compare("acquire: 1M single", limit="limits: durable commit")
    assert results.find("acquire: 1M single", "share_of_limit") == pytest.approx(0.25)


def test_cases_of_a_stage_stand_together_whenever_they_were_measured() -> None:
    results = Results()
    for case in ("acquire: a", "limits: b", "acquire: c"):
        results.add(case, "rows_per_s", 1)
    assert [case for case, _ in results.cases_by_stage()] == ["acquire: a", "acquire: c", "limits: b"]


def test_spread_is_half_the_distance_of_the_extremes() -> None:
    results = Results()
    results.add_timing("resolve: x", Timing(100, (1.0, 1.0 / 1.2, 1.0 / 0.8)))
    assert spread(results.rows[0]) == pytest.approx(0.2)
    results.add_timing("resolve: y", Timing(100, (1.0,)))
    assert spread(results.rows[2]) is None


def test_the_widest_table_fits() -> None:
    results = Results()
    case = "resolve: 125M hits 1,741 providers limit 16 threads"
    results.add_timing(case, Timing(10**9, (9.0, 9.5, 13.0)))
    results.add_latency(case, [0.123456, 12.3456])
    for metric, value in (("bytes_per_row", 1234.567), ("ratio_to_best_peer", 1234.567), ("share_of_limit", 1.01)):
        results.add(case, metric, value)
    assert max(map(len, table(results).splitlines())) <= WIDTH


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (rate_text(31_234_567), "31.2 M"), (rate_text(480_123), "480 k"), (rate_text(12.34), "12.3"),
        (number_text(1234.5), "1,234"), (micros_text(850.4), "850 us"), (micros_text(1500), "1.5 ms"),
        (micros_text(2.5e6), "2.5 s"),
    ],
)  # fmt: skip
def test_numbers_read_well(text: str, expected: str) -> None:
    assert text == expected


def test_progress_without_a_terminal_is_a_line_now_and_then() -> None:
    stream = io.StringIO()
    progress = Progress(stream)
    for i in range(50):
        progress.step(f"step {i}")
    assert stream.getvalue().count("\n") == 1


def test_truth_tells_a_swap_and_hashes_whose_alias_came() -> None:
    aliases = np.arange(64, dtype=np.uint8).reshape(4, 16)
    status, persons = np.zeros(4, np.uint8), np.arange(4, dtype=np.uint32)
    hashes = []
    for order in ([0, 1, 2, 3], [0, 1, 2, 3], [1, 0, 2, 3]):
        truth = Truth()
        truth.check_aliases("case", aliases[order], status, aliases, persons)
        hashes.append(truth.hexdigest())
        assert len(truth.problems) == (order[0] == 1)
    assert hashes[0] == hashes[1] != hashes[2]


def test_truth_tells_a_wrong_status_and_a_wrong_shape() -> None:
    truth = Truth()
    aliases, persons = np.zeros((2, 16), np.uint8), np.zeros(2, np.uint32)
    truth.check_aliases("a", aliases, np.zeros(2, np.uint8), aliases, persons, Status.UNKNOWN_ALIAS)
    truth.check_column("b", "status", np.zeros(3, np.uint8), np.zeros(2, np.uint8))
    truth.check_equal("c", "count", 1, 2)
    assert [problem.partition(":")[0] for problem in truth.problems] == ["a", "b", "c"]


def test_space_is_weighed_at_three_sizes_within_one_octave_below() -> None:
    for persons in (1_000, 1 << 20, (1 << 20) + 1, 10_000_000):
        sizes = weighed_sizes(persons)
        low = 1 << (sizes[0].bit_length() - 1)
        assert low < sizes[0] < sizes[1] < sizes[2] < 2 * low
        assert sizes[2] < persons <= 4 * low


def test_invented_municipalities_fill_up_to_the_real_number() -> None:
    catalog = with_towns(Catalog.japan())
    towns = towns_of(catalog)
    assert len(towns) == TOWNS
    assert len({body.code for body in towns}) == TOWNS
    assert sum(body.prefecture == "架空県" for body in towns) == TOWNS - len(towns_of(Catalog.japan()))
    assert with_towns(catalog) is catalog


def test_invented_codes_avoid_those_that_are_taken() -> None:
    first = invented_csv(1, set()).splitlines()[1].partition(",")[0]
    assert first not in invented_csv(5, {first})


def test_the_machine_block_names_the_build(tmp_path: Path) -> None:
    block = machine.describe(tmp_path)
    assert block["flags"]
    assert block["fsync_us"] > 0
    assert block["compiler"].startswith(("GCC: ", "clang"))
    assert block["cython"][0].isdigit()
    assert list(tmp_path.iterdir()) == []


def block_of(**changes: object) -> dict[str, object]:
    fit = {"flags": "-O3", "disk_free_bytes": 1 << 40, "memory_available_bytes": 1 << 40, "governor": None}
    return fit | changes


@pytest.mark.parametrize(
    ("block", "spin", "word"),
    [
        (block_of(flags="-O0 -g"), 0.0, "debug build"),
        (block_of(flags="unknown"), 0.0, "compiler flags"),
        (block_of(), 0.5, "unsteady"),
        (block_of(disk_free_bytes=100), 0.0, "small disk"),
        (block_of(memory_available_bytes=100), 0.0, "small memory"),
        (block_of(governor="powersave"), 0.0, "governor"),
    ],
)
def test_an_unfit_machine_is_warned_about(block: dict[str, object], spin: float, word: str) -> None:
    found = machine.warnings_before(block, spin, 1_000, 1_000)
    assert len([warning for warning in found if word in warning]) == 1


def test_a_fit_machine_is_not_warned_about() -> None:
    found = machine.warnings_before(block_of(), 0.0, 1_000, 1_000)
    assert [warning for warning in found if "development mode" not in warning] == []


def test_neighbours_are_counted_without_ourselves() -> None:
    neighbours = machine.Neighbours()
    sum(range(20_000_000))
    cores = neighbours.cores()
    assert cores is None or cores >= 0
    assert machine.warning_after(None) is None
    assert "busy machine" in (machine.warning_after(1e6) or "")


def test_a_recorded_command_does_not_say_where_its_files_went() -> None:
    given = ["--json", "a b.json", "--html=x", "wire", "--folder", "/somewhere", "--persons", "1000"]
    assert command_of(given) == "python -m hub.bench wire --persons 1000"
    assert command_of([]) == "python -m hub.bench"
