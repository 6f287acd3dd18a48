"""``hub portal``: the citizen's pages."""

from __future__ import annotations

import argparse
import csv
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hub.commands.pages import add_site, load_module, run_site
from hub.errors import RequestError

if TYPE_CHECKING:
    from hub.portal.config import Config

EPILOG = """\
A process of its own, which is a client of the hub: its certificate may call for "portal" and nobody else.
Stop it with SIGTERM.

portal.toml:
  listen = "0.0.0.0:8443"
  address = "https://history.example.go.jp"    # as browsers see it
  links = "portal.sqlite"                      # who is who; made with mode 0600
  tlog = "public"                              # "hub tlog export" writes there; served under /tlog/

  [tls]                                        # PEM; or a proxy in front, and listen on loopback
  certificate = "portal.pem"
  key = "portal.key"

  [hub]
  address = "hubs://hub.example.go.jp:7411"
  certificate = "portal-client.pem"
  key = "portal-client.key"
  ca = "hub-ca.pem"

  [signin]                                     # OpenID Connect
  issuer = "https://auth.example.go.jp"
  client_id = "history-portal"
  key = "signin.key"                           # for private_key_jwt
  acr = ["card"]                               # of which one must be in every ID token
  birth_claim = "birthdate"                    # of the ID token; left out: no proxies by law
  scope = "openid profile"                     # with which the provider gives it

  [link]                                       # who signs in for the first time is found by this
  claim = "certificate_serial"
  namespace = "jpki-auth"

  [own]                                        # own data; left out: no such page
  keys = ["own.key"]                           # "hub key new"; its public half: "hub key register HUB portal KEY"
  looks_a_day = 20                             # of one person

  [alerts]                                     # by mail; left out: no such page
  sender = "no-reply@history.example.go.jp"
  hour = 9                                     # of the day in Japan, from which mails go

  [alerts.smtp]
  host = "mail.example.go.jp"
  port = 587
  tls = "starttls"                             # or "implicit"; "none" on loopback only
  user = "history"
  password = "smtp.password"                   # a file
  connections = 8                              # so many mails beside each other

Examples:
  hub portal --config portal.toml
  hub portal --own-rules rules                 the law by which it may ask for own data, for "hub catalog import"
  hub portal --config portal.toml --link people.csv     where sign-in gives no identifier to find people by
  hub portal --demo                            hub, portal and a stand-in for sign-in, with invented people

Exit status: 0 stopped; 2 the configuration is wrong; 3 disk.
"""


def add_commands(commands: Any) -> None:
    """Add ``portal``."""
    parser, which = add_site(
        commands, "portal", help="the citizen's pages: who asked about me, and why", epilog=EPILOG, port=8080,
        description="Serve the citizen's pages.",
    )  # fmt: skip
    which.add_argument("--own-rules", metavar="FOLDER", help="write the rules for own data there, and end")
    parser.add_argument("--link", metavar="FILE", help="enter who is who from a CSV (sub,alias), and end; - for stdin")
    parser.set_defaults(run=run_portal)


def run_portal(arguments: argparse.Namespace) -> int:
    """Serve until stopped, or do what is wanted instead."""
    if arguments.own_rules:
        return write_own_rules(Path(arguments.own_rules))

    def link(config: Config) -> int | None:
        if not arguments.link:
            return None
        print(f"{link_people(config, arguments.link):,} people")
        return 0

    return run_site("portal", arguments, link)


def write_own_rules(folder: Path) -> int:
    """Write the rules for own data, each file as it is to be imported, in the order of their printing.

    Raises:
        RequestError: a file is there already, or cannot be written.
    """
    files = load_module("portal", "owndata").rule_files()
    try:
        folder.mkdir(exist_ok=True)
        for name, content in files.items():
            with (folder / name).open("xb") as file:
                file.write(content)
            print(folder / name)
    except OSError as error:
        raise RequestError(f"{folder}: {error.strerror}") from None
    return 0


def link_people(config: Config, name: str) -> int:
    """Enter the people of a CSV file, with the columns ``sub`` and ``alias`` (32 hex digits); returns how many.

    Raises:
        RequestError: the file or a line of it has another form; nothing was changed.
    """
    from hub.portal.links import Links, who_of

    found: list[tuple[bytes, bytes]] = []
    try:
        with open(0 if name == "-" else name, encoding="utf-8-sig", newline="", closefd=name != "-") as file:
            for number, line in enumerate(csv.DictReader(file), 2):
                sub, alias = line.get("sub") or "", line.get("alias") or ""
                try:
                    raw = bytes.fromhex(alias)
                except ValueError:
                    raw = b""
                if not sub or len(alias) != 32 or len(raw) != 16:
                    raise RequestError(f"line {number}: expected sub,alias with 32 hex digits, got something else")
                found.append((who_of(config.signin.issuer, sub), raw))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise RequestError(f"{name}: cannot be read: {type(error).__name__}") from None
    links = Links(config.links)
    try:
        links.put_all(found)
    finally:
        links.close()
    return len(found)
