"""The quick parser of metrics pages says what prometheus_client's says, on every page."""

from __future__ import annotations

import math
import time
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from harness.probes import exposition

WANTED = frozenset({"vllm:running", "tokens_total", "wait_seconds_bucket"})
LINES = (
    "vllm:running 1",
    "vllm:running 1.0 1700000000000",
    "vllm:running\t3",
    "  vllm:running{} 4.5e-3  ",
    "vllm:running +Inf",
    "vllm:running NaN",
    "vllm:running -Inf",
    "vllm:running .5",
    "vllm:running 1_000",
    "vllm:running 0x10",
    "vllm:running",
    "vllm:running_more 7",
    "vllm:running {a=\"b\"} 3",
    'vllm:running{a="b",} 3',
    'vllm:running{a="b" , c="d"} 3',
    'vllm:running{a="x,y=\\"z\\"}{"} 3',
    'vllm:running{a="line\\nfeed \\\\ back"} 3',
    'vllm:running{a="b",a="c"} 3',
    'vllm:running{a="b"c="d"} 3',
    'vllm:running{__name__="b"} 3',
    'vllm:running{1a="b"} 3',
    'vllm:running{a="} 3"} 3',
    'vllm:running{a="ä\u2028ß"} 3',
    'vllm:running{a="\\\\",b="\\"",c="\\\\\\"",d="\\\\n\\x\\n"} 3',
    'vllm:running{a="\\\\\\"} 3',
    'vllm:running{a="{}",b="a=\\"b\\",c"} 3 1700000000000',
    'vllm:running{a="b"} 3 1700000000.25',
    'vllm:running{a="b"} 3 1700000000.',
    'vllm:running{a="b"} 3 -5',
    'vllm:running{a="b",,} 3',
    'vllm:running{,} 3',
    'vllm:running{a="b" } ' + 400 * "9",
    'vllm:running{a="b"} 3 ' + 400 * "9",
    '{"vllm:running",a="b"} 3',
    '{ "vllm:running" , a="b"} 3',
    '{a="b","vllm:running"} 3',
    '{"vllm:running"="b"} 3',
    '{"vllm:\\running",a="b"} 3',
    '{"a","vllm:running"} 3',
    '{"",a="b"} 3',
    '{"of.others"} 3',
    "# vllm:running 3",
    "# TYPE tokens counter",
    'tokens_total{a="b"} 17 # {trace="x"} 1.0',
    'wait_seconds_bucket{le="+Inf"} 17.0',
    "",
)  # fmt: skip


def theirs(line: str) -> list[tuple[str, dict[str, str], float]] | None:
    """What prometheus_client says of a line; None when it refuses it."""
    try:
        families = list(text_string_to_metric_families(line + "\n"))
        samples = [sample for family in families for sample in family.samples if sample.name in WANTED]
        return [(sample.name, dict(sample.labels), float(sample.value)) for sample in samples]
    except (ValueError, IndexError, OverflowError):
        return None


def ours(line: str) -> list[tuple[str, dict[str, str], float]] | None:
    """What we say of it; None when we refuse it."""
    try:
        return [tuple(sample) for sample in exposition.samples(line, WANTED)]  # type: ignore[misc]
    except ValueError:
        return None


def same(line: str) -> bool:
    """Whether both say the same; a number that is none equals itself here. What is not wanted may be refused."""
    expected, found = theirs(line), ours(line)
    return repr(found) == repr(expected) or (expected is None and found == [])


@pytest.mark.parametrize("line", LINES)
def test_a_line_means_what_it_means_to_prometheus(line: str) -> None:
    """However it is written: with time stamps, escapes, spaces, names in braces, and when it is none."""
    assert same(line)


@given(st.lists(st.sampled_from(['vllm:running', 'tokens_total', '{', '}', '"', ',', '=', ' ', '\\', 'a', '_', '1', '.',
                                 'e', '+', '-', 'Inf', 'NaN', '\t', 'le', '#', '\\n', 'ß']), max_size=14))  # fmt: skip
def test_nonsense_means_what_it_means_to_prometheus(parts: list[str]) -> None:
    """Lines made of the pieces of which lines are made, in any order."""
    assert same("vllm:running" + "".join(parts))
    assert same("".join(parts))


@pytest.mark.parametrize(
    ("page", "expected"),
    [
        ("vllm:running 3", ""),
        ("vllm:running 3\nvllm:runn", "vllm:running 3\n"),
        ('a 1 # {x="y"} 2\n', 'a 1 # {x="y"} 2\n'),
        ('a 1 # {x="y"} 2\n# EOF\n', "a 1\n# EOF\n"),
        ("a 1 17.5 # {} 2 3\n# EOF\n", "a 1 17.5\n# EOF\n"),
        ('a{b="# {"} 1 # {x="y"} 2\n# EOF\n', 'a{b="# {"} 1\n# EOF\n'),
        ('a{b="c",d=" # "} 1 # {x="y"} 2\n# EOF\n', 'a{b="c",d=" # "} 1\n# EOF\n'),
        ('a{b="\\"} # {"} 1 # {x="y"} 2\n# EOF\n', 'a{b="\\"} # {"} 1\n# EOF\n'),
        ("# HELP a # {x}\na 1\n# EOF\n", "# HELP a # {x}\na 1\n# EOF\n"),
    ],
)
def test_half_a_line_and_exemplars_are_left_out(page: str, expected: str) -> None:
    """Half a number is another number; exemplars only are what they are on a page of OpenMetrics."""
    assert exposition.whole(page) == expected


def test_long_lines_take_no_time() -> None:
    """Whatever stands in them, each is looked at once."""
    for piece in ("a", '"', "\\", "{", "#", " # {", 'a="b",', '\\"'):
        page = f"vllm:running{{{piece * 300_000}\n# EOF\n"
        began = time.process_time()
        with suppress(ValueError):
            list(exposition.samples(exposition.whole(page), WANTED))
        assert time.process_time() - began < 5.0, piece


def test_a_page_takes_no_longer_for_how_it_is_written() -> None:
    """No more than twice as long as one of short lines in the usual way; what would take longer is refused."""

    def took_s(label: str, value: str = "1") -> float:
        line = f'vllm:running{{a="{label}"}} {value}\n'
        page = line * (4_000_000 // len(line))
        began = time.process_time()
        with suppress(ValueError):
            assert len(list(exposition.samples(page, WANTED))) == page.count("\n")
        return time.process_time() - began

    plain_s = took_s("b")
    for label in ('\\"' * 4000, "\\\\" * 4000, ("\\" * 99 + '"') * 80, "{" * 8000, "b" * 8000):
        assert took_s(label) < 2 * plain_s, label[:20]
    for value in ("1 1700000000000", " 1", ".1", "1\t1"):
        assert took_s("b", value) < 2 * plain_s, value


@pytest.mark.parametrize("name", ["of.others", 'of \\"others\\"'])
def test_series_of_others_cost_nothing(name: str) -> None:
    """However many there are of them with names that need quotes."""
    page = "vllm:running 3\n" + 10_000 * f'{{"{name}",a="b"}} 1\n' + "tokens_total 4\n"
    assert [sample.value for sample in exposition.samples(page, WANTED)] == [3.0, 4.0]


VALUES = st.floats(width=64) | st.integers(-(10**30), 10**30).map(float)


@given(
    st.lists(st.tuples(st.text(max_size=8), VALUES), max_size=4, unique_by=lambda pair: pair[0]),
    st.lists(st.floats(0, 100), max_size=5),
)
def test_a_page_of_prometheus_clients_own(gauges: list[tuple[str, float]], waits: list[float]) -> None:
    """Whatever stands in labels and values of a page that a server writes with it."""
    registry = CollectorRegistry()
    running = Gauge("vllm:running", "text", ["model_name"], registry=registry)
    for label, value in gauges:
        running.labels(label).set(value)
    Counter("tokens", "text \n with a line", registry=registry).inc(3)
    wait = Histogram("wait_seconds", "text", registry=registry, buckets=(0.3, 1))
    for seconds in waits:
        wait.observe(seconds)
    page = generate_latest(registry).decode()
    expected = [
        (sample.name, dict(sample.labels), float(sample.value))
        for family in text_string_to_metric_families(page)
        for sample in family.samples
        if sample.name in WANTED
    ]
    assert repr([tuple(sample) for sample in exposition.samples(page, WANTED)]) == repr(expected)
    assert math.isclose(expected[-1][2], len(waits))
