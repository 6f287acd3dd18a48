"""``hub desk``: an institution's clerks ask, answer and disclose by hand."""

from __future__ import annotations

import argparse
from typing import Any

from hub.commands.pages import add_site, run_site

EPILOG = """\
A process of its own, in a closed network, which is a client of the hub: its certificate may call for the
institution and nobody else. Clerks sign in with the institution's own sign-in. Stop it with SIGTERM.

desk.toml:
  listen = "10.0.0.5:8444"
  address = "https://desk.example.lg.jp"       # as browsers see it
  institution = "131016"
  book = "desk.sqlite"                         # what was asked here and waits; made with mode 0600
  agency = "town"                              # folder of "hub agency": own ids and aliases
  # residents = "residents.csv"                # or a CSV own_id,alias
  # tickets = "tickets.csv"                    # own_id,ticket, of acquisitions that may be held
  # payload_key = "town.key"                   # to open sealed answers ("hub key new")
  # keep_days = 30                             # until a line of the book is forgotten

  [tls]                                        # PEM; or a proxy in front, and listen on loopback
  certificate = "desk.pem"
  key = "desk.key"

  [hub]
  address = "hubs://hub.example.go.jp:7411"
  certificate = "town.pem"
  key = "town.key"
  ca = "hub-ca.pem"

  [signin]                                     # the institution's own OpenID Connect
  issuer = "https://login.example.lg.jp"
  client_id = "linkage-desk"
  key = "signin.key"                           # for private_key_jwt
  acr = ["two-factor"]                         # of which one must be in every ID token

  [claims]                                     # of the ID token
  clerk = "employee_number"                    # the operator: supervisors read it; without "/" and "+"
  name = "name"
  section = "department"                       # the citizen reads it
  duties = "roles"                             # ask, decide, link, disclose; left out: all

Examples:
  hub desk --config desk.toml
  hub desk --demo                              hub, desk and a stand-in for sign-in, with invented people

Exit status: 0 stopped; 2 the configuration is wrong; 3 disk.
"""


def add_commands(commands: Any) -> None:
    """Add ``desk``."""
    parser, _ = add_site(
        commands, "desk", help="an institution's clerks: ask, answer, disclose by hand", epilog=EPILOG, port=8081,
        description="Serve the pages of an institution's clerks.",
    )  # fmt: skip
    parser.set_defaults(run=run_desk)


def run_desk(arguments: argparse.Namespace) -> int:
    """Serve until stopped."""
    return run_site("desk", arguments)
