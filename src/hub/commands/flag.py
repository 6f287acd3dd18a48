"""``hub flag``: switch the flags that protect people on or off, or see how they stand."""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np

from hub.commands.opening import open_hub
from hub.commands.options import add_folder, print_table, take_alias, take_folder
from hub.commands.progress import Progress, Stopping, add_progress
from hub.errors import RequestError
from hub.files.inquiries import read_all_aliases
from hub.files.tables import ENCODINGS
from hub.limits import FLAGS_PER_CALL_MAX
from hub.messages import Aliases, Flag

EPILOG = """\
The people are named by this institution's own aliases: one (--alias, - reads it from the standard
input), or the column alias of a file. An alias that is not its own refuses all of them.

  --manual     a clerk of the institution must answer (自動応答不可); every body then seems to know the person
  --withheld   new records to which the institution is a party are in no history (不開示)
  --no-self    own data and agents find nothing (自己情報提供不可)

In force at the next read, also of programs that are running. Without one of the three it shows how
the people stand; what other institutions flag is never told.

Examples:
  hub flag linkage 131016 --alias - --manual --withheld --clerk sato
  hub flag linkage 131016 --aliases protected.csv --withheld --clerk sato
  hub flag linkage 131016 --aliases over.csv --withheld --off --clerk sato
  hub flag linkage 131016 --alias -

Exit status: 0 done; 1 shown: nobody is flagged; 2 wrong request; 3 disk; 130 Ctrl-C.
"""

_OPTIONS = (("manual", Flag.MANUAL), ("withheld", Flag.WITHHELD), ("no_self", Flag.NO_SELF))


def add_commands(commands: Any) -> None:
    """Add ``flag``."""
    parser = commands.add_parser("flag", help="flags that protect people, at one institution", epilog=EPILOG)
    parser.description = "Switch the flags that protect people on or off, or see how they stand."
    add_folder(parser, "INSTITUTION")
    people = parser.add_mutually_exclusive_group(required=True)
    people.add_argument("--alias", metavar="HEX", help="one person, 32 hex digits; - for the standard input")
    people.add_argument("--aliases", metavar="FILE", help="people, by a file with the column alias")
    parser.add_argument("--manual", action="store_true", help="a clerk must answer (自動応答不可)")
    parser.add_argument("--withheld", action="store_true", help="withhold new records (不開示)")
    parser.add_argument("--no-self", action="store_true", help="own data and agents find nothing (自己情報提供不可)")
    parser.add_argument("--off", action="store_true", help="switch off what is named, instead of on")
    parser.add_argument("--clerk", metavar="NAME", help="who decides, for auditors")
    parser.add_argument("--encoding", choices=ENCODINGS, default="auto", help="of FILE (default: auto)")
    add_progress(parser)
    parser.set_defaults(run=run_flag)


def run_flag(arguments: argparse.Namespace) -> int:
    """Flag people in calls of bounded size, all of them known before the first."""
    folder, (institution,) = take_folder(arguments)
    if arguments.aliases is not None:
        aliases = read_all_aliases(arguments.aliases, encoding=arguments.encoding)
    else:
        aliases = take_alias(arguments.alias).reshape(1, 16)
    chosen = Flag.NONE
    for name, flag in _OPTIONS:
        chosen |= flag if getattr(arguments, name) else Flag.NONE
    if not chosen:
        if arguments.off:
            raise RequestError("--off: expected one of --manual, --withheld, --no-self with it, got none")
        return _show(arguments, folder, institution, aliases)
    done = 0
    try:
        with (
            open_hub(arguments, folder) as h,
            Stopping() as stopping,
            Progress("flag", len(aliases), show=arguments.progress) as progress,
        ):
            h.flags(institution, aliases)
            while done < len(aliases):
                part = aliases[done : done + FLAGS_PER_CALL_MAX]
                h.flag(institution, part, chosen, on=not arguments.off, clerk=arguments.clerk)
                done += len(part)
                progress(done)
                stopping.check()
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"stopped: {done:,} rows are durable; give the command again to go on") from None
    print(f"{institution}: {_spell(chosen)} {'off' if arguments.off else 'on'} for {len(aliases):,} aliases")
    return 0


def _show(arguments: argparse.Namespace, folder: str, institution: str, aliases: Aliases) -> int:
    with open_hub(arguments, folder, readonly=True) as h:
        found = h.flags(institution, aliases)
    counts = np.bincount(found, minlength=16)
    print_table([(counts[i], _spell(Flag(i))) for i in range(16) if counts[i]], right=(0,))
    return 0 if found.any() else 1


def _spell(flags: Flag) -> str:
    return ", ".join(flag.name or "" for flag in Flag(flags)) or "none"
