"""``make demo``: the main job once, on residents who do not exist, told as it goes.

The pension agency and some hundred municipalities acquire aliases from files; the agency asks about everybody in
one file; the municipalities collect what they are asked and answer it, and the agency reads their data; one citizen
reads what was asked about them. It uses the public interface and the files of the command
line, and ends with how fast each stage was.
"""

from __future__ import annotations

import argparse
import datetime as dt
import shutil
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

import hub
from hub.authorise import authorise
from hub.commands.acquire import STATUS_NAMES as ACQUISITION_NAMES
from hub.commands.exchange import (
    ANSWER_COLUMNS,
    PERMIT_COLUMNS,
    answer_columns,
    permit_columns,
    provide_part,
    read_parts,
)
from hub.commands.history import Speller
from hub.commands.inquire import RESULT_COLUMNS, Names, count_statuses, numbers_of, print_statuses
from hub.commands.inquire import answer_columns as result_columns
from hub.commands.options import print_table
from hub.errors import RequestError
from hub.files.columns import Choices, Digits, payload_column, permit_column
from hub.files.inquiries import RejectedWriter, read_answers, read_codes, read_inquiry
from hub.files.tables import TableWriter
from hub.limits import ALIAS_BYTES
from hub.messages import Aliases, Inquiry, Status

RESIDENTS = 1_000_000
RESIDENTS_MIN = 1_000
MUNICIPALITIES = 120
FOLDER = "demo-hub"
MARK = ".made-by-hub-demo"

CODE_DIGITS = 11
CODES_RESERVED = 10**8
"""Invented resident record codes are 000 and eight digits: told from real ones at sight, and with 11 digits never
an individual number, which has 12. No check digit is computed for them."""
CODE_STEP = 48_271
"""Prime to CODES_RESERVED: neighbours in number are no neighbours in the files."""

UNKNOWN, MOVED, NOT_ALLOWED = 0.003, 0.007, 0.002
"""Shares of the agency's rows: an alias that it mistyped; a person whom the provider does not (no longer) hold; a
provider that the law does not name, here a prefecture instead of the municipality."""

NO_TAX = 0.01
"""Share of residents of whom their municipality has no tax data: EMPTY."""

PENSION = "19-8/73/75.3"
CHILD_ALLOWANCE = "19-8/106/108.1"
PHYSICIAN = "19-8/30/32.1"


class Stopwatch:
    """How long each stage took over how many rows, in the order of their first use."""

    def __init__(self) -> None:
        self.stages: dict[str, tuple[int, float]] = {}

    @contextmanager
    def stage(self, name: str, rows: int) -> Iterator[None]:
        """Add the time of a block to a stage."""
        started = time.perf_counter()
        yield
        rows_before, seconds = self.stages.get(name, (0, 0.0))
        self.stages[name] = rows_before + rows, seconds + time.perf_counter() - started

    def count(self, name: str, rows: int) -> None:
        """Add rows to a stage that did not know before how many it would have."""
        before, seconds = self.stages[name]
        self.stages[name] = before + rows, seconds

    def print(self) -> None:
        """The stages as a table."""
        rows: list[Sequence[object]] = [("stage", "rows", "seconds", "rows/s")]
        for name, (count, seconds) in self.stages.items():
            rows.append((name, count, f"{seconds:.3f}", f"{count / seconds:,.0f}"))
        print_table(rows, right=(1, 2, 3), indent=3)


class Country(NamedTuple):
    """The invented residents: their codes, and the municipality (a place in ``homes``) in which each one lives."""

    codes: npt.NDArray[np.int64]
    home: npt.NDArray[np.int64]
    homes: list[hub.Institution]
    prefecture: hub.Institution

    def __repr__(self) -> str:
        return f"Country(residents={len(self.codes)}, municipalities={len(self.homes)})"


def say(text: str = "") -> None:
    """Print at once, so that the story keeps pace with the work."""
    print(text, flush=True)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the demo; returns 0 if every row came out as invented."""
    parser = argparse.ArgumentParser(prog="python -m hub.demo", description=__doc__.split("\n")[0])
    parser.add_argument("--residents", type=int, default=RESIDENTS, metavar="N", help=f"default {RESIDENTS:,}")
    parser.add_argument("--folder", type=Path, default=Path(FOLDER), help=f"to work in (default: {FOLDER})")
    parser.add_argument("--keep", action="store_true", help="leave the folder for a look around")
    parser.add_argument("--seed", type=int, default=0, help="of the invented residents")
    arguments = parser.parse_args(argv)
    if not RESIDENTS_MIN <= arguments.residents <= CODES_RESERVED:
        parser.error(f"--residents: expected {RESIDENTS_MIN:,} to {CODES_RESERVED:,}, got {arguments.residents:,}")
    folder: Path = arguments.folder
    if folder.exists() and not (folder / MARK).exists():
        parser.error(f"{folder}: expected no such folder: remove it, or name another with --folder")
    # What an interrupted demo left behind is its own.
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / MARK).touch()
    try:
        return tell(folder, arguments.residents, np.random.default_rng(arguments.seed))
    finally:
        if arguments.keep:
            say(f"\nKept in {folder}: the hub (try: hub stats {folder}/hub), and its files in in/ and out/.")
        else:
            shutil.rmtree(folder, ignore_errors=True)
            say(f"\n{folder} was removed again; with --keep (make demo ARGS=--keep) it stays for a look around.")


def tell(folder: Path, residents: int, random: np.random.Generator) -> int:
    """The story, from an empty folder to the table of throughput."""
    watch = Stopwatch()
    for name in ("in", "out"):
        (folder / name).mkdir()
    with hub.open(folder / "hub", create=True) as h:
        country = invent_country(h.catalog, residents, random)
        homes = country.homes
        say("1. The country, invented")
        procedures = len(h.catalog.procedures())
        say(f"   {residents:,} residents of {len(homes)} municipalities, the largest {homes[0].name}.")
        say("   Nobody among them exists.")
        say(f"   The law as shipped, and not invented: {procedures:,} procedures of the Order under Art. 19 (8).\n")

        say("2. Aliases. Every institution gets its own alias of each person; the hub alone can tell that two are one.")
        say("   A file of resident record codes goes in, a file of aliases comes out, without the codes.")
        agency = acquire_file(h, "nenkin", country.codes, folder, watch)
        say(f"   {h.catalog.institution('nenkin').name}: {folder}/in/nenkin-codes.csv -> out/nenkin-aliases.csv")
        local = acquire_at_home(h, country, folder, watch)
        equal = np.intersect1d(agency.view("<u8")[:, 0], local.view("<u8")[:, 0]).size
        say(f"   {len(homes)} municipalities: one file each. Aliases equal to one of the agency's: {equal}.")
        say(f"   One resident at the agency: {agency[0].tobytes().hex()}; at home, the hub alone knows.\n")

        as_invented, citizen = ask_about_everybody(h, country, agency, folder, watch, random)
        ok = equal == 0 and as_invented
        ok &= answer_everybody(h, country, citizen, folder, watch, random)
        ok &= tell_one_history(h, country, citizen, agency, watch)
    say("\n6. How fast it went, files included, on this machine:")
    watch.print()
    return 0 if ok else 1


def invent_country(catalog: hub.Catalog, residents: int, random: np.random.Generator) -> Country:
    """Residents of the first municipalities of the catalog, the first ones large, the last ones small."""
    homes = catalog.institutions("市町村長")[:MUNICIPALITIES]
    size = 1 / np.arange(3, len(homes) + 3)
    home = random.choice(len(homes), residents, p=size / size.sum())
    # Everybody has a municipality that holds somebody, whatever the number of residents.
    home[: len(homes)] = np.arange(len(homes))
    codes = (np.arange(residents, dtype=np.int64) * CODE_STEP + 12_345) % CODES_RESERVED
    return Country(codes, home, homes, catalog.institutions("都道府県知事")[0])


def acquire_file(h: hub.Hub, institution: str, codes: npt.NDArray[np.int64], folder: Path, watch: Stopwatch) -> Aliases:
    """Write an institution's file of codes, acquire it as ``hub acquire`` does, and return the aliases in its order."""
    source, target = folder / f"in/{institution}-codes.csv", folder / f"out/{institution}-aliases.csv"
    with TableWriter(source, ("code",)) as writer:
        writer.write([Digits(codes, CODE_DIGITS)])
    stage = "acquire: nenkin" if institution == "nenkin" else "acquire: municipalities"
    aliases = []
    with watch.stage("read files of codes", len(codes)):
        parts = list(read_codes(source))
    with TableWriter(target, ("row", "alias", "status")) as result:
        for part in parts:
            with watch.stage(stage, len(part.row)):
                acquired = h.acquire(institution, part.codes)
            with watch.stage("write files of aliases", len(part.row)):
                result.write([part.row, acquired.aliases, Choices(acquired.status, ACQUISITION_NAMES)])
            aliases.append(acquired.aliases)
    return np.concatenate(aliases)


def acquire_at_home(h: hub.Hub, country: Country, folder: Path, watch: Stopwatch) -> Aliases:
    """Every municipality acquires aliases of its residents; returned in the order of the country's residents."""
    order = np.argsort(country.home, kind="stable")
    bounds = np.searchsorted(country.home[order], np.arange(len(country.homes) + 1))
    local = np.empty((len(order), ALIAS_BYTES), np.uint8)
    for i, municipality in enumerate(country.homes):
        residents = order[bounds[i] : bounds[i + 1]]
        local[residents] = acquire_file(h, municipality.code, country.codes[residents], folder, watch)
    return local


def invent_inquiry(
    h: hub.Hub, country: Country, agency: Aliases, random: np.random.Generator
) -> tuple[Aliases, npt.NDArray[np.uint32], dict[Status, int], int]:
    """One row a resident in an order of the agency's own.

    Returns:
        Aliases, providers, how many rows should come out how, and the place of a resident whose row is in order.
    """
    residents = len(agency)
    order = random.permutation(residents)
    aliases = agency[order]
    provider = np.array([home.number for home in country.homes], np.uint32)[country.home[order]]
    unknown, moved, refused = (max(1, round(share * residents)) for share in (UNKNOWN, MOVED, NOT_ALLOWED))
    aliases[:unknown] = random.integers(0, 256, (unknown, aliases.shape[1]), dtype=np.uint8)
    numbers = np.array([home.number for home in country.homes], np.uint32)
    elsewhere = (country.home[order[unknown : unknown + moved]] + 1) % len(numbers)
    provider[unknown : unknown + moved] = numbers[elsewhere]
    provider[unknown + moved : unknown + moved + refused] = country.prefecture.number
    again = random.permutation(residents)
    expected = {
        Status.OK: residents - unknown - moved - refused,
        Status.UNKNOWN_ALIAS: unknown,
        Status.NO_ALIAS_AT_PROVIDER: moved,
        Status.DENIED: refused,
    }
    return aliases[again], provider[again], expected, int(order[-1])


def ask_about_everybody(
    h: hub.Hub, country: Country, agency: Aliases, folder: Path, watch: Stopwatch, random: np.random.Generator
) -> tuple[bool, int]:
    """The agency's one file through all stages; whether the counts are those that were invented, and a citizen."""
    source, target = folder / "in/nenkin-ask.csv", folder / "out/nenkin-answers.csv"
    names = Names(numbers_of(h.catalog))
    aliases, providers, expected, citizen = invent_inquiry(h, country, agency, random)
    with TableWriter(source, ("alias", "provider")) as writer:
        writer.write([aliases, names.column(providers)])
    procedure = h.catalog.procedure(PENSION)
    say(
        f"3. {h.catalog.institution('nenkin').name} asks the municipalities for the tax data of everybody, in one file."
    )
    say(f"   Procedure {PENSION}: {procedure.label}. Each row is checked against")
    say("   the law, translated into the municipality's alias, and recorded durably before it is answered.")
    inquiry = Inquiry(
        requester="nenkin",
        procedure=PENSION,
        items=("市町村民税",),
        role="納付義務者",
        section="国民年金部",
        request_id="demo",
    )
    counts: Counter[int] = Counter()
    with TableWriter(target, RESULT_COLUMNS) as result, RejectedWriter(source, target) as rejected:
        with watch.stage("read the inquiry file", len(aliases)):
            parts = list(read_inquiry(source, numbers_of(h.catalog)))
        for part in parts:
            rejected.write(part.rejected)
            with watch.stage("authorise alone", len(part.row)):
                authorise(h.catalog, inquiry, part.providers, dt.datetime.now(dt.UTC))
            with watch.stage("inquire: authorise, resolve, record", len(part.row)):
                answer = h.inquire(inquiry, part.aliases, part.providers)
            with watch.stage("write the answer file", len(part.row)):
                result.write(result_columns(part, answer, names))
            counts.update(count_statuses(answer))
    say(f"   {target}:")
    print_statuses(counts, indent=3)
    as_invented = counts == Counter(expected)
    say("   These are exactly the numbers that were invented.\n" if as_invented else f"   Expected: {expected}\n")
    return as_invented, citizen


def answer_everybody(
    h: hub.Hub, country: Country, citizen: int, folder: Path, watch: Stopwatch, random: np.random.Generator
) -> bool:
    """Every municipality but one collects and answers, the agency reads; whether it reads what was invented."""
    # The smallest one is late, unless the citizen of the story lives there.
    late = len(country.homes) - 1 - (country.home[citizen] == len(country.homes) - 1)
    say("4. The answers. Each municipality collects its permits, under its own aliases and in an order of its own,")
    say(f"   and answers from a file, with data where it has some; {country.homes[late].name} has not got round to it.")
    expected: Counter[int] = Counter()
    for i, municipality in enumerate(country.homes):
        permits = collect_file(h, municipality.code, folder, watch)
        if i == late:
            expected[Status.PENDING] = len(permits)
        else:
            expected.update(provide_file(h, municipality.code, permits, folder, watch, random))
    say(f"   {country.homes[0].name}: {folder}/out/{country.homes[0].code}-permits.csv -> in/…-provided.csv")
    target = folder / "out/nenkin-data.csv"
    rows = h.status("nenkin", "demo").rows
    counts: Counter[int] = Counter()
    first = 1
    with TableWriter(target, ANSWER_COLUMNS) as result:
        parts = read_parts(h, "nenkin", "demo", rows)
        while first <= rows:
            with watch.stage("answers: nenkin", 0):
                part = next(parts)
            watch.count("answers: nenkin", len(part))
            with watch.stage("write the file of data", len(part)):
                result.write(answer_columns(part, first))
            counts.update(dict(enumerate(np.bincount(part.status).tolist())))
            first += len(part)
    say(f"   {h.catalog.institution('nenkin').name} reads {target}:")
    print_statuses(counts, indent=3)
    as_invented = all(counts[status] == count for status, count in expected.items())
    say("   Again as invented.\n" if as_invented else f"   Expected: {expected}\n")
    return as_invented


def collect_file(h: hub.Hub, code: str, folder: Path, watch: Stopwatch) -> npt.NDArray[np.uint64]:
    """Collect as ``hub collect`` does; the permits' numbers."""
    permits = [np.empty(0, np.uint64)]
    cursor = None
    with TableWriter(folder / f"out/{code}-permits.csv", PERMIT_COLUMNS) as result:
        while True:
            with watch.stage("collect: municipalities", 0):
                page = h.collect(code, after=cursor)
            if not page:
                return np.concatenate(permits)
            rows = sum(map(len, page))
            watch.count("collect: municipalities", rows)
            with watch.stage("write files of permits", rows):
                result.write(permit_columns(page))
            permits += [one.permit for one in page]
            cursor = page[-1].cursor


def provide_file(
    h: hub.Hub, code: str, permits: npt.NDArray[np.uint64], folder: Path, watch: Stopwatch, random: np.random.Generator
) -> dict[int, int]:
    """Invent a municipality's answers, write them into a file and provide it as ``hub provide`` does; their counts."""
    source = folder / f"in/{code}-provided.csv"
    empty = random.random(len(permits)) < NO_TAX
    yen = random.integers(0, 5_000, len(permits)) * 100
    payloads = [None if none else b"<tax year='2026' yen='%d'/>" % tax for none, tax in zip(empty, yen, strict=True)]
    with TableWriter(source, ("permit", "outcome", "payload")) as writer:
        outcomes = Choices(empty.view(np.uint8), ("PROVIDED", "EMPTY"))
        writer.write([permit_column(permits), outcomes, payload_column(payloads)])
    parts = iter(read_answers(source))
    done = 0
    while done < len(permits):
        with watch.stage("read files of answers", 0):
            part = next(parts)
        watch.count("read files of answers", len(part.row))
        with watch.stage("provide: municipalities", len(part.row)):
            provide_part(h, code, part, None)
        done += part.rows_read
    return {Status.PROVIDED: len(permits) - int(empty.sum()), Status.EMPTY: int(empty.sum())}


def tell_one_history(h: hub.Hub, country: Country, citizen: int, agency: Aliases, watch: Stopwatch) -> bool:
    """One citizen's records, after two more questions about them; whether all of them are there."""
    home, new_home = (
        country.homes[country.home[citizen]],
        country.homes[(country.home[citizen] + 1) % len(country.homes)],
    )
    code = country.codes[citizen : citizen + 1]
    say("5. One citizen. They move, their new town asks the old one for tax data to grant the child allowance; and")
    say("   somebody at the pension agency asks for their family register to look at a physician's licence.")
    alias = h.acquire(new_home.code, code).aliases
    allowance = h.inquire(
        Inquiry(
            requester=new_home.code, procedure=CHILD_ALLOWANCE, items=("市町村民税",), role="一般受給資格者",
            section="こども家庭課", request_id="demo-move",
        ),
        alias, home.code,
    )  # fmt: skip
    ministry = h.catalog.institutions("法務大臣")[0]
    licence = h.inquire(
        Inquiry(
            requester="nenkin", procedure=PHYSICIAN, items=("戸籍",), role="申請者", section="国民年金部",
            request_id="demo-licence",
        ),
        agency[citizen : citizen + 1], ministry.code,
    )  # fmt: skip
    town, agency_too = Status(int(allowance.status[0])), Status(int(licence.status[0]))
    say(f"   The town's question: {town.name}. The agency's: {agency_too.name}, since no rule of law lets it ask.")
    say("   At the portal, which has an alias of its own, the citizen reads all of it, the denied question too:\n")
    portal = h.acquire("portal", code).aliases
    with watch.stage("one citizen's history", 1):
        history = h.history(portal)
    speller = Speller(h.catalog)
    for record in history.records:
        say("   " + speller.spell_record(record).replace("\n", "\n   ") + "\n")
    say(
        "   None of the data is in a record: it says who asked whom for what, why, and what came of it."
    )
    return len(history.records) == 4 and town == Status.OK and agency_too == Status.DENIED


if __name__ == "__main__":
    try:
        sys.exit(main())
    except RequestError as error:
        sys.exit(f"demo: {error}")
