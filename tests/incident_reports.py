"""Incident reports for tests: one that could be real, and any that there can be, with hostile texts."""

from __future__ import annotations

from hypothesis import strategies as st

from harness.model.incident import (
    NOT_MEASURED,
    Blank,
    Block,
    Figure,
    Inline,
    Items,
    Lines,
    Link,
    Report,
    Section,
    Source,
    Table,
    Text,
    said,
)

BEGAN_S = 1_795_874_520.0
REQUESTS = Source(
    "requests.parquet", "rows with outcome = failed_visible", "counted", BEGAN_S, BEGAN_S + 182.4567
)  # fmt: skip
WAITING = Source(
    "http://prometheus:9090", 'max_over_time(vllm:num_requests_waiting{instance="replica-2|x"}[60s])',
    "largest sample", BEGAN_S, BEGAN_S + 182.4,
)  # fmt: skip
EVENT = Source("events.jsonl", "line 41: fault.injected", "", BEGAN_S)
#: What stands in names, labels and logs to be something else than text.
HOSTILE = (
    "<script>alert(1)</script>", "**9 requests**[^impact.failed]", "[^impact.failed]: http://x.example", "a | b", "`x`",
    "<!-- /people: status #8ab09b -->", "<!-- people: status #8ab09b -->", '<data data-figure="a" value="1">1</data>',
    "</pre>", "-->", "# h", "1. x", "+ y", "@everyone", "\\", "&#42;", "&amp;", "\n\n",
    "\r\n", "\x1b[31m", "\u202e", "_a_", "~~~",
)  # fmt: skip


def realistic() -> Report:
    """A replica hung behind its gateway."""
    sections = (_overview(), _impact(), _timeline(), _survivors(), _requests(), _analysis(), _actions())
    made_from = {"run": "20261128-140200-gateway-failover-7c1d", "drill": "gateway-failover"}
    return Report("gateway-failover: gateway-a stopped answering, 2026-11-28 14:02 UTC", made_from, sections)


def _overview() -> Section:
    return Section(
        "overview",
        "Overview",
        (
            said("Data incomplete:"),
            Items((said("replica-2 14:02:00 – 14:05:00: no scrape answered"),)),
            said("Severity: ", Figure("severity", "SEV-2", REQUESTS), " (12 % of the budget of 30 days burned)."),
            said(
                Figure("overview.bad", "43 of 1,204 requests", REQUESTS),
                " were not answered as promised, by ",
                Figure("overview.users", NOT_MEASURED),
                ". The first alert fired ",
                Figure("overview.detected", "31.4 s later", WAITING),
                ".",
            ),
        ),
    )


def _impact() -> Section:
    rows = [
        (said("requests: failed"), said(Figure("impact.failed", "43", REQUESTS))),
        (said("slowest answer"), said(Figure("impact.slowest", "12.8 s", REQUESTS))),
        (said("tokens lost"), said(Figure("impact.tokens", NOT_MEASURED))),
        (said("users hit"), said(Figure("overview.users", NOT_MEASURED))),
    ]
    minutes = [
        (said(f"14:0{n}"), *(said(Figure(f"minute.{n}.{of}", str(n * k), REQUESTS)) for k, of in enumerate("abcd", 3)))
        for n in range(1, 7)
    ]
    return Section(
        "impact",
        "Impact",
        (
            Table(("what", "how much"), tuple(rows)),
            said("By minute (UTC):"),
            Table(("minute", "good", "failed, visible", "failed, retried", "abandoned"), tuple(minutes)),
        ),
    )


def _timeline() -> Section:
    times = [
        (said(name), said(Figure(f"times.{name}", shown, source)), said(why))
        for name, shown, source, why in (
            ("began", "14:02:00.412 (± 7.5 s)", REQUESTS, "first minute outside of the objective"),
            ("detected", "14:02:31.800", WAITING, "alert GatewayDown fires"),
            ("acknowledged", NOT_MEASURED, None, "no source tells it"),
        )
    ]
    events = [
        (said("14:02:00.000"), said("gateway-a is paused"), said(Link(EVENT))),
        (said("14:02:31.800"), said('alert fires: GatewayDown (gateway="a", job="haproxy")'), said(Link(WAITING))),
    ]
    return Section(
        "timeline",
        "Timeline",
        (Table(("time", "when", "by what"), tuple(times)), Table(("UTC", "event", "source"), tuple(events))),
    )


def _survivors() -> Section:
    rows = [
        (said(replica), said(when), *(said(Figure(f"{replica}.{when}.{of}", "3.25", WAITING)) for of in "abcd"))
        for replica in ("replica-1", ["replica-2", "(hit)"][0])
        for when in ("before", "during", "after")
    ]
    head = ("replica", "when", "waiting (mean)", "waiting (most)", "first token p95", "share of requests")
    return Section("survivors", "Survivors", (Table(head, tuple(rows)),))


def _requests() -> Section:
    lines = ('2026-11-28T14:02:01Z haproxy[7]: <NOSRV> 503 "POST /v1/chat/completions HTTP/1.1"', "    at x | y")
    return Section("requests", "Requests and their log lines", (said("req-7f3a: connection refused"), Lines(lines)))


def _analysis() -> Section:
    asked = (
        ("went-well", "What went well", "what kept it from being worse"),
        ("lucky", "Where we got lucky", "what else"),
    )
    blocks = [block for id_, title, asks in asked for block in (said(f"{title}:"), Blank(id_, asks))]
    return Section("analysis", "Analysis", tuple(blocks))


def _actions() -> Section:
    row = (
        said("detect"),
        said("alert on a gateway that answers no health check"),
        said("make drill-gateway-failover"),
        said(Blank("action.1.owner", "owner")),
        said(Blank("action.1.due", "date")),
    )
    return Section("actions", "Action items", (Table(("type", "action", "shown by", "owner", "due"), (row,)),))


def texts(min_size: int = 0) -> st.SearchStrategy[str]:
    """Any text, and what would like to be more than that."""
    pieces = st.one_of(st.sampled_from(HOSTILE), st.text(st.characters(exclude_categories=["Cs"]), max_size=6))
    return st.lists(pieces, min_size=min_size, max_size=4).map("".join)


_SECONDS = st.none() | st.floats(0, 4e9)
_SOURCES = st.builds(Source, texts(), texts(), texts(), _SECONDS, _SECONDS)
#: What a number looks like, or what a server calls one.
NUMBERS = st.one_of(st.integers(0, 10**6).map("{} requests".format), st.just(NOT_MEASURED), texts())


@st.composite
def reports(draw: st.DrawFn) -> Report:
    """A report with some figures, each perhaps shown twice, and some blanks, each once."""
    figures = [Figure(f"f.{n}", draw(NUMBERS), draw(st.none() | _SOURCES)) for n in range(draw(st.integers(1, 5)))]
    blanks = [Blank(f"b-{n}", draw(texts()), draw(texts())) for n in range(draw(st.integers(1, 4)))]
    parts: list[Inline] = [*figures, *draw(st.lists(st.sampled_from(figures), max_size=2))]
    parts += [*blanks[1:], *draw(st.lists(texts(), max_size=4)), *map(Link, draw(st.lists(_SOURCES, max_size=2)))]
    cells = [Text((part,)) for part in draw(st.permutations(parts))]
    cut, middle = sorted(draw(st.tuples(st.integers(0, len(cells)), st.integers(0, len(cells)))))
    blocks: list[Block] = [
        Text(tuple(part for cell in cells[:cut] for part in cell.parts)),
        Items(tuple(cells[cut:middle])),
        Table((draw(texts()),), tuple((cell,) for cell in cells[middle:])),
        Lines(tuple(draw(st.lists(texts(), max_size=3)))),
        blanks[0],
    ]
    sections = tuple(Section(f"s{n}", draw(texts()), (block,)) for n, block in enumerate(draw(st.permutations(blocks))))
    return Report(draw(texts()), draw(st.dictionaries(texts(), texts(), max_size=2)), sections)
