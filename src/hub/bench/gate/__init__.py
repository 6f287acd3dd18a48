"""``python -m hub.bench gate --base REV``: whether the working tree is slower than a commit. See docs/gate.md."""

from __future__ import annotations

from hub.bench.gate.command import main

__all__ = ["main"]
