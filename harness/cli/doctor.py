"""``harness doctor``: what earlier runs have left behind, and its repair."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from harness.plan.options import instance_number
from harness.recover import doctor
from harness.recover.leftovers.base import Leftover
from harness.run.terminal import Console

ORDER, HELP = 170, "what earlier runs have left behind, and its repair"
_DATA = ("instance", "kind", "what", "remedy")


def add(parser: argparse.ArgumentParser, _: Mapping[str, str]) -> None:
    """Where it looks, and whether it repairs."""
    parser.add_argument("--fix", action="store_true", help="repair it; without it nothing is touched")
    parser.add_argument("--json", action="store_true", help="as data")
    only = "only this instance, not all of this checkout"
    parser.add_argument("--instance", type=instance_number, metavar="N", help=only)


def do(options: argparse.Namespace, _: Sequence[str]) -> int:
    """Look, and repair where that was asked for."""
    return examine(options.instance, fix=options.fix, as_json=options.json)


def examine(instance: int | None, *, fix: bool, as_json: bool, console: Console | None = None) -> int:
    """Tell what is left over at one instance, or at all of this checkout; with ``fix`` repair it. 1 if something is."""
    console = console or Console(highlight=False)
    found = doctor.Findings()
    for number in doctor.instances() if instance is None else [instance]:
        found.add(doctor.repair(number) if fix else doctor.examine(number))
    found.add(doctor.strangers())
    if as_json:
        data = {
            "leftovers": _data(found.left),
            "repaired": _data(found.repaired),
            "busy": found.busy,
            "foreign": found.foreign,
        }
        console.print(json.dumps(data, indent=2), markup=False, soft_wrap=True)
    else:
        _print(console, found)
    return 1 if found.left else 0


def _data(leftovers: list[Leftover]) -> list[dict[str, Any]]:
    return [{name: getattr(leftover, name) for name in _DATA} for leftover in leftovers]


def _print(console: Console, found: doctor.Findings) -> None:
    for instance, who in sorted(found.busy.items()):
        console.print(f"instance {instance}: in use by {who}; not touched", markup=False, soft_wrap=True)
    for one in found.foreign:
        console.print(f"foreign: {one}", markup=False, soft_wrap=True)
    if found.repaired:
        _print_table(console, "repaired", "what was done", found.repaired)
    if found.left:
        _print_table(console, "left over", "what --fix does", found.left)
    elif not found.repaired:
        console.print("nothing is left over")


def _print_table(console: Console, title: str, remedy: str, leftovers: list[Leftover]) -> None:
    table = Table(title=title, title_justify="left")
    for heading in ("instance", "kind"):
        table.add_column(heading, no_wrap=True)
    for heading in ("what was found", remedy):
        table.add_column(heading, overflow="fold")
    for one in leftovers:
        table.add_row(str(one.instance), one.kind, Text(one.what), Text(one.remedy))
    console.print(table)
