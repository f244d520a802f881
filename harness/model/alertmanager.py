"""What an Alertmanager tells: alerts that it has, and silences. Times in Unix seconds, by its own clock."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass

#: Regular expressions of others are looked at only where they are quick on any text: so many repetitions, of one
#: character each.
_REPETITIONS_MAX = 3
_REPETITION = re.compile(r"(?<!\\)[*+?{]")
_OF_A_GROUP = re.compile(r"[)*+?}][*+?{]|\(\?")


@dataclass(frozen=True)
class Matcher:
    """One condition on a label; a label that an alert has not is an empty text."""

    name: str
    value: str
    is_regex: bool
    is_equal: bool = True

    def holds(self, labels: Mapping[str, str]) -> bool | None:
        """Whether it does; None for a regular expression that could take for ever, or is none here."""
        has = labels.get(self.name, "")
        if not self.is_regex:
            return (has == self.value) is self.is_equal
        if _OF_A_GROUP.search(self.value) or len(_REPETITION.findall(self.value)) > _REPETITIONS_MAX:
            return None
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of what it may mean some day
                return (re.fullmatch(self.value, has, re.DOTALL) is not None) is self.is_equal
        except (re.error, RecursionError, OverflowError):
            return None

    def __str__(self) -> str:
        """As Alertmanager writes it."""
        sign = ("=~" if self.is_equal else "!~") if self.is_regex else ("=" if self.is_equal else "!=")
        return f"{self.name}{sign}{self.value}"


@dataclass(frozen=True)
class Silence:
    """Who silenced what, and why, from ``starts_s`` to ``ends_s``."""

    id: str
    by: str
    comment: str
    starts_s: float
    ends_s: float
    matchers: tuple[Matcher, ...]

    def covers(self, labels: Mapping[str, str]) -> bool:
        """Whether an alert with these labels, ``alertname`` among them, is surely one of those."""
        return bool(self.matchers) and all(one.holds(labels) for one in self.matchers)

    def __str__(self) -> str:
        """Its matchers."""
        return ", ".join(map(str, self.matchers))


@dataclass(frozen=True)
class Delivered:
    """An alert that had not resolved when it was asked for: ``state`` active, suppressed or unprocessed."""

    labels: Mapping[str, str]
    starts_s: float
    ends_s: float
    receivers: tuple[str, ...]
    state: str

    @property
    def name(self) -> str:
        """Its rule."""
        return self.labels.get("alertname", "an alert without a name")


@dataclass(frozen=True)
class Managed:
    """All that one Alertmanager told."""

    server: str
    alerts: tuple[Delivered, ...]
    silences: tuple[Silence, ...]
