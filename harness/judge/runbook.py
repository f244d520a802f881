"""What to do when a check is red: what is the same for every drill, around what a drill says of its own checks."""

from __future__ import annotations

import re
from collections.abc import Collection

_TITLE = re.compile(r"\*\*(.+?)\*\*")
_FIRST = """\
Start with the first red line and work down: upper lines cause lower ones.

- **conservation**: the records are incomplete, so no other number can be trusted. This is a defect of the harness.
- **nothing left injected**: a fault outlived its run: a toxic, a weight, a memory limit, another model. Before anything
  else: `make doctor FIX=1` reverts it, `make down` removes the stack and every fault with it.
- **no silent truncation**: a truncated answer looked complete. Stop: users read wrong answers. Compare the stream's
  `finish_reason` and usage with the events that arrived.
- **replica counters and client records agree**: a replica generated tokens that no client requested (work for clients
  that have gone, a gateway that resumes, other users of the stack), or clients got some that it never counted. The
  sentence has both numbers.
- **right answers** / **served versions**: users read wrong answers. Does each replica serve the model that the plan
  names (a tag that moved, a cached image, old weights), with its chat template? Eject the one that does not.
- **broken attempts bounded**: answers break off, and only the clients' retries hide it. The check names the phase. Look
  for restarts, idle time-outs that are shorter than an answer, and proxies that drop connections.
- **steady state** / **recovery**: after the heal something keeps failing: a replica that is not readmitted, a breaker
  that stays open, dead pooled connections, a queue full of requests that no client waits for. Look at the outcomes over
  time; the sentence says what was missing.
"""
_ALERTS = """\
- **no page before the first fault**: an alert fires on a healthy service. It will be ignored when it matters.
- **no page once recovered**: recovery does not last. Something recurs in waves, or the alert is false.
- **alerts fire in …**: no alert reports the failure. Is the rule in Prometheus, does its series exist, does
  Alertmanager reach its receiver? **alerts silent in …**: an alert blames the wrong component; the check names the
  alert. **alerts clear after …**: the service is still bad, or the rule looks back for too long.
"""
_BEFORE = """\
- **availability before** / **TTFT before** / **end to end before**: INCONCLUSIVE, not red: the service was not well
  before the first fault. See to that first.
"""
_LATENCY = """\
- **end to end …** / **stalls …**: users were served, but slowly. Is the remaining capacity too small for the load, does
  a retry come late, or does a proxy hold streams back?
"""


def runbook(checks: str, alerts: str = "", objectives: str = "") -> str:
    """The runbook of a drill, in the order in which the page has its checks.

    ``checks`` and ``objectives`` are the drill's own entries; ``alerts``, two spaces in, continues that about alerts.
    """
    return f"{_FIRST}{checks}{_ALERTS}{alerts}{_BEFORE}{objectives}{_LATENCY}"


def split(text: str) -> tuple[str, list[str]]:
    """What a runbook says first, and its entries, each with its dash."""
    first, *entries = re.split(r"^(?=- )", text, flags=re.MULTILINE)
    return first, entries


def about(entries: list[str], check: str) -> int | None:
    """The place of the entry about the check of that name: its title is how the name begins, «…» is anything.

    The longest title wins. None where no entry speaks of it.
    """
    found = [
        (len(title), place)
        for place, entry in enumerate(entries)
        for title in _TITLE.findall(entry)
        if re.match(re.escape(title).replace("…", ".+"), check)
    ]
    return max(found)[1] if found else None


def chosen(text: str, checks: Collection[str]) -> tuple[str, str]:
    """What a runbook says first with its entries about these checks, and the other entries."""
    first, entries = split(text)
    places = {about(entries, check) for check in checks}
    wanted = [entry for place, entry in enumerate(entries) if place in places]
    others = [entry for place, entry in enumerate(entries) if place not in places]
    return first + "".join(wanted), "".join(others)
