"""A Prometheus server's history, as it was scraped: each sample with its own time, nothing filled in.

A range query repeats the last sample for five minutes wherever there is none, so that an outage of the monitoring looks
like a service that stood still. Here raw samples are asked for (``metric{…}[3600s]``, an instant query), a stretch at a
time: below the 11,000 points that a server sends of one series at once, and shorter where it refuses as too large.

Reading changes nothing at the server: it needs no permission of the kind that load needs.
"""

from __future__ import annotations

import math
import ssl
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import httpx
import numpy as np
import numpy.typing as npt

from harness.model import redact
from harness.model.errors import AdapterError, UsageError
from stack import bounded

#: Environment: how the server wants to be asked.
TOKEN, USER, PASSWORD, CA_FILE, TENANT = (
    f"PROMETHEUS_{name}" for name in ("TOKEN", "USER", "PASSWORD", "CA_FILE", "TENANT")
)
TENANT_HEADER = "X-Scope-OrgID"
#: What a server sends of one series at once, at most; and so long a stretch is asked for first: at one sample a second,
#: which is faster than anybody scrapes, a third of that.
POINTS_MAX, STRETCH_S = 11_000, 3_600.0
#: Where a shorter stretch is still too large, there are too many series, not too many samples of each.
STRETCH_MIN_S = 15.0
DEADLINE_S = 30.0
_SHOWN_CHARS = 200
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Series:
    """The samples of one series: its labels without the name, times in Unix seconds (rising), and values."""

    name: str
    labels: Mapping[str, str]
    at_s: Floats
    values: Floats


@dataclass(frozen=True)
class Answered:
    """What a server had: its series, and what it said against its own answer (of a store that did not answer, …)."""

    series: tuple[Series, ...]
    warnings: tuple[str, ...]


class _TooLarge(Exception):
    """The server, or the limit on an answer, refuses a stretch as too large; the text says who and why."""


@dataclass(frozen=True)
class Access:
    """How a server is reached. ``ca_file`` is of the authority that signed its certificate, if it is no public one."""

    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    user: tuple[str, str] | None = field(default=None, repr=False)
    ca_file: str = ""

    @classmethod
    def of(cls, url: str, environment: Mapping[str, str]) -> Access:
        """From ``PROM=`` and the environment. UsageError for what is no URL, and where two ways are said at once."""
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise UsageError(f"PROM={url}: expected http://host:port or https://host, with a path if there is one")
        if parts.username is not None:
            raise UsageError(f"PROM: expected no user in the URL; give {USER} and {PASSWORD} in the environment")
        token, user, password = (environment.get(name, "") for name in (TOKEN, USER, PASSWORD))
        if token and user:
            raise UsageError(f"found {TOKEN} and {USER}, expected one of them")
        redact.learn(token, password)
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        if tenant := environment.get(TENANT, ""):
            headers[TENANT_HEADER] = tenant
        return cls(url.rstrip("/"), headers, (user, password) if user else None, environment.get(CA_FILE, ""))

    def verification(self) -> ssl.SSLContext | bool:
        """What httpx has to check. UsageError for a file that holds no certificates."""
        if not self.url.startswith("https"):
            return False
        try:
            return ssl.create_default_context(cafile=self.ca_file or None)
        except (OSError, ssl.SSLError) as error:
            raise UsageError(
                f"{CA_FILE}={self.ca_file}: expected a file of certificates (PEM), found {error}"
            ) from error


class Prometheus:
    """One server. Every question raises UsageError where the user can mend it (401, 404, no API), else AdapterError."""

    def __init__(self, access: Access, deadline_s: float = DEADLINE_S) -> None:
        self.url, self._deadline_s = access.url, deadline_s
        self._client = httpx.Client(
            headers=dict(access.headers), auth=access.user, verify=access.verification(), trust_env=False
        )

    def close(self) -> None:
        """End the connection."""
        self._client.close()

    def samples(self, selector: str, start_s: float, end_s: float) -> Answered:
        """All samples of the series that ``selector`` names, ``start_s`` < time ≤ ``end_s`` (Unix seconds)."""
        start_s, end_s = round(start_s, 3), round(end_s, 3)  # a server's clock has milliseconds
        found: dict[tuple[tuple[str, str], ...], list[tuple[Floats, Floats]]] = {}
        warnings: dict[str, None] = {}
        for answer in self._stretches(selector, start_s, end_s, STRETCH_S):
            warnings |= dict.fromkeys(answer.warnings)
            for one in answer.series:
                labels = tuple(sorted({"__name__": one.name, **one.labels}.items()))
                found.setdefault(labels, []).append((one.at_s, one.values))
        return Answered(tuple(_joined(labels, parts) for labels, parts in sorted(found.items())), tuple(warnings))

    def names(self, start_s: float, end_s: float) -> frozenset[str]:
        """Names of all metrics that had a sample in this time."""
        answer = self._small("/api/v1/label/__name__/values", start=_time(start_s), end=_time(end_s))
        data = answer.get("data")
        if not isinstance(data, list) or not all(isinstance(name, str) for name in data):
            raise AdapterError(f"{self.url} tells no names of metrics: {_shown(data)}")
        return frozenset(data)

    def clock_offset_s(self) -> tuple[float, float]:
        """How far the server's clock is ahead of ours, and by how much that may be wrong: half of the round trip."""
        before = time.time()
        answer = self._small("/api/v1/query", query="time()")
        after = time.time()
        try:
            there = float(answer["data"]["result"][1])
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise AdapterError(f"{self.url} does not tell its time: {_shown(answer)}") from error
        return there - (before + after) / 2, (after - before) / 2

    def rules(self) -> tuple[str, ...]:
        """Names of its alert rules as they are now, sorted; none where it does not tell (a store without rules)."""
        try:
            groups = self._small("/api/v1/rules", type="alert")["data"]["groups"]
            return tuple(sorted({str(rule["name"]) for group in groups for rule in group["rules"]}))
        except (AdapterError, UsageError, KeyError, TypeError):
            return ()

    def build(self) -> dict[str, str]:
        """What it says of itself (version, revision); empty where it does not tell."""
        try:
            told = self._small("/api/v1/status/buildinfo")["data"]
            return {f"Prometheus {name}": _line(str(told[name])) for name in ("version", "revision") if told.get(name)}
        except (AdapterError, UsageError, KeyError, TypeError, AttributeError):
            return {}

    def _stretches(self, selector: str, start_s: float, end_s: float, longest_s: float) -> Iterator[Answered]:
        """From the oldest to the newest. A stretch that is too large is asked for in halves."""
        began_s = start_s
        while began_s < end_s:
            until_s = min(began_s + longest_s, end_s)
            try:
                yield self._stretch(selector, began_s, until_s)
            except _TooLarge as error:
                half_s = (until_s - began_s) / 2
                if half_s < STRETCH_MIN_S:
                    why = f"{self.url} has too many series of {selector} even for {until_s - began_s:.0f} s: {error}"
                    raise UsageError(f"{why}; narrow them down with SELECTOR='label=\"value\"'") from None
                yield from self._stretches(selector, began_s, until_s, half_s)
            began_s = until_s

    def _stretch(self, selector: str, start_s: float, end_s: float) -> Answered:
        query = f"{selector}[{math.ceil((end_s - start_s) * 1000)}ms]"
        answer = self._asked("/api/v1/query", query=query, time=_time(end_s))
        data = answer.get("data")
        result = data.get("result") if isinstance(data, dict) and data.get("resultType") == "matrix" else None
        if not isinstance(result, list):
            raise AdapterError(f"{self.url} answered {query!r} with no samples, but {_shown(data)}")
        warned = answer.get("warnings")
        try:
            series = tuple(_series(row) for row in result)
        except (AttributeError, KeyError, TypeError, ValueError, OverflowError) as error:
            raise AdapterError(f"{self.url} answered {query!r} with what is no series: {error!r}") from error
        longest = max((len(one.at_s) for one in series), default=0)
        if longest > POINTS_MAX:
            raise _TooLarge(f"{longest} samples of one series")
        return Answered(
            tuple(_after(one, start_s) for one in series),
            tuple(_line(str(text)) for text in warned) if isinstance(warned, list) else (),
        )

    def _small(self, path: str, **question: str) -> dict[str, Any]:
        try:
            return self._asked(path, **question)
        except _TooLarge as error:
            raise AdapterError(f"{self.url}{path}: {error}") from error

    def _asked(self, path: str, **question: str) -> dict[str, Any]:
        try:
            answer = bounded.ask(self._client, "GET", self.url + path, self._deadline_s, params=question)
        except bounded.TooMuch as error:
            raise _TooLarge(str(error)) from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            why = str(error) or type(error).__name__
            raise AdapterError(f"{self.url} does not answer: {_line(why)}; expected a Prometheus server") from error
        return self._read(answer, path)

    def _read(self, answer: bounded.Answer, path: str) -> dict[str, Any]:
        """The JSON of a good answer. Whatever else came is told in one line."""
        if answer.status_code in (401, 403):
            hint = f"set {TOKEN}, or {USER} and {PASSWORD}, and {TENANT} where it has tenants"
            raise UsageError(f"{self.url} refuses: HTTP {answer.status_code}; {hint}")
        try:
            said = answer.json()
        except ValueError:
            said = None
        if not isinstance(said, dict) or "status" not in said:
            what = f"HTTP {answer.status_code}, {answer.headers.get('content-type', 'no content type')}"
            where = "expected the address before /api/v1, such as http://prometheus:9090"
            raise UsageError(
                f"{self.url}{path} is no Prometheus API: found {_line(what)}: {_shown(answer.text)}; {where}"
            )
        if said["status"] != "success":
            why = _line(str(said.get("error", "without a reason")))
            if answer.status_code == 422 or "too many samples" in why:
                raise _TooLarge(why)
            raise AdapterError(f"{self.url}{path}: HTTP {answer.status_code}: {why}")
        return said


def _series(row: Any) -> Series:
    labels = {str(name): str(value) for name, value in row["metric"].items()}
    at_s = np.array([float(at) for at, _ in row.get("values", ())], dtype=float)
    values = np.array([float(value) for _, value in row.get("values", ())], dtype=float)
    if not np.isfinite(at_s).all() or (np.diff(at_s) <= 0).any():
        raise ValueError("times that do not rise")
    return Series(labels.pop("__name__", ""), labels, at_s, values)


def _after(one: Series, start_s: float) -> Series:
    """Without a sample at the very beginning: until Prometheus 3 a stretch has both its ends."""
    keep = one.at_s > start_s
    return one if keep.all() else Series(one.name, one.labels, one.at_s[keep], one.values[keep])


def _joined(labels: tuple[tuple[str, str], ...], parts: list[tuple[Floats, Floats]]) -> Series:
    names = dict(labels)
    at_s, values = (np.concatenate([part[place] for part in parts]) for place in (0, 1))
    return Series(names.pop("__name__"), names, at_s, values)


def _time(at_s: float) -> str:
    return f"{at_s:.3f}"


def _line(text: str) -> str:
    words = " ".join(redact.printable(text).split())
    return words if len(words) <= _SHOWN_CHARS else words[:_SHOWN_CHARS] + "…"


def _shown(what: Any) -> str:
    return _line(str(what)) or "nothing"
