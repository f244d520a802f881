"""Where everything that set-up brings lives. All of it is under ``.tools/`` of the checkout, git-ignored."""

from __future__ import annotations

from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
TOOLS = CHECKOUT / ".tools"
