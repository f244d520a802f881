"""Prometheus' text format, as far as a probe wants it: some series of a page, and quickly.

prometheus_client's parser looks at each character. Probes ask for a page many times a second and want a few of its
hundreds of lines, which servers write in one way. A wanted line that is written in another way goes to that parser, so
that both always say the same.

A server may send OpenMetrics although it was not requested: exemplars are removed. Both formats end a page with a line
feed, so text after the last one is an incomplete line.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterator
from typing import NamedTuple

from prometheus_client.parser import text_string_to_metric_families

#: A line as servers write it: no spaces that need not be, nothing escaped in labels, a plain number, no time stamp.
_PAIR = r'[a-zA-Z_][a-zA-Z0-9_]*="[^"\\{}]*"'
_LINE = re.compile(
    rf"([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{{({_PAIR}(?:,{_PAIR})*)?\}})? "
    r"([-+]?(?:[0-9]+(?:\.[0-9]*)?(?:[eE][-+]?[0-9]+)?|Inf|NaN))"
)
_LABEL = re.compile(r'([a-zA-Z0-9_]+)="([^"]*)"')
#: What a line begins with; a line that begins with a brace has its name in there.
_NAME = re.compile(r"\{|[^{\s]*")


#: After a sample of OpenMetrics. Labels without escapes contain no brace.
_EXEMPLAR = re.compile(r'([^{}"#]*(?:\{[^"{}]*(?:"[^"\\{}]*"[^"{}]*)*\}[^{}"#]*)?) # \{')
_OPENMETRICS_END = "# EOF"
#: The time of prometheus_client's parser grows with the square of a line's length.
_LINE_CHARS_MAX = 8192


class Sample(NamedTuple):
    """One line."""

    name: str
    labels: dict[str, str]
    value: float


def whole(text: str) -> str:
    """A page without an incomplete last line and without exemplars."""
    text = text[: text.rfind("\n") + 1]
    if not text.rstrip().endswith(_OPENMETRICS_END):
        return text
    return "\n".join(found[1] if (found := _EXEMPLAR.match(line)) else line for line in text.split("\n"))


def samples(text: str, wanted: Container[str]) -> Iterator[Sample]:
    """The samples of a page whose names are ``wanted``, in its order. ValueError for a wanted line that is none."""
    for raw in text.split("\n"):
        line = raw.strip()
        name = _NAME.match(line)
        assert name is not None, "it matches nothing as well"
        if name[0] not in wanted and name[0] != "{":
            continue
        found = _LINE.fullmatch(line)
        pairs = _LABEL.findall(found[2] or "") if found else []
        labels: dict[str, str] = dict(pairs)
        if found is None or len(labels) < len(pairs) or "__name__" in labels:
            yield from _written_otherwise(line, wanted)
        else:
            yield Sample(found[1], labels, float(found[3]))


def _written_otherwise(line: str, wanted: Container[str]) -> Iterator[Sample]:
    if len(line) > _LINE_CHARS_MAX:
        raise ValueError(f"no sample: {line[:80]!r}, and so on for {len(line)} characters")
    try:
        families = list(text_string_to_metric_families(line + "\n"))
    except IndexError as error:  # the parser reads past the end of some lines
        raise ValueError(f"no sample: {line[:80]!r}") from error
    for family in families:
        for sample in family.samples:
            if sample.name in wanted:
                yield Sample(sample.name, dict(sample.labels), float(sample.value))
