"""What the commands that serve pages share, ``hub portal`` and ``hub desk``: their options, and one way to serve."""

from __future__ import annotations

import argparse
import importlib
import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hub.errors import RequestError


def add_site(
    commands: Any, name: str, *, help: str, description: str, epilog: str, port: int
) -> tuple[argparse.ArgumentParser, Any]:
    """Add a site's command; returns its parser, and the group of which one option must be given."""
    parser = commands.add_parser(name, help=help, epilog=epilog)
    parser.description = description
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--config", metavar="FILE", help="TOML, see below")
    which.add_argument("--demo", action="store_true", help="everything on this machine, with invented people")
    parser.add_argument("--port", type=int, default=port, help=f"of --demo (default: {port})")
    return parser, which


def run_site(name: str, arguments: argparse.Namespace, instead: Callable[[Any], int | None] | None = None) -> int:
    """Serve a site, ``hub.NAME``, or its demo, until stopped.

    Args:
        instead: what else may be wanted of a configuration: an exit status, or None to serve.

    Raises:
        RequestError: a library is not installed, the configuration is wrong, or the address cannot be used.
    """
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(asctime)s %(levelname)s %(message)s")
    app, config_of = load_module(name, "app"), load_module(name, "config")
    if arguments.demo:
        status: int = load_module(name, "demo").run_demo(arguments.port, lambda text: print(text, flush=True))
        return status
    config = config_of.load_config(Path(arguments.config))
    done = None if instead is None else instead(config)
    if done is not None:
        return done
    try:
        app.serve(config, ready=lambda: print(f"serving {config.address}", flush=True))
    except OSError as error:
        raise RequestError(f"listen {config.listen}: {error.strerror or error}") from None
    print("stopped")
    return 0


def load_module(site: str, name: str) -> Any:
    """A module of a site; here and not above: no other command waits for what pages need, or needs it.

    Raises:
        RequestError: a library is not installed.
    """
    try:
        return importlib.import_module(f"hub.{site}.{name}")
    except ModuleNotFoundError as error:
        raise RequestError(f"{site}: {error.name} is not installed (pip install 'hub[portal]')") from None
