"""Prometheus' text format, as far as a probe wants it: some series of a page, and quickly.

prometheus_client's parser looks at each character. Probes ask for a page many times a second and want a few of its
hundreds of lines, which servers write in one way. A wanted line that is written in another way goes to that parser, so
that both always say the same. That parser may need the square of a line's length, so it gets little of one page.

A server may send OpenMetrics although it was not requested: exemplars are removed. Both formats end a page with a line
feed, so text after the last one is an incomplete line.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterator
from typing import NamedTuple

from prometheus_client.parser import text_string_to_metric_families

#: What stands between quotes.
_TEXT = r'[^"\\]*+(?:\\.[^"\\]*+)*+'
#: A line as servers write it: no spaces that need not be, a plain number, and perhaps a time stamp.
_PAIR = rf'[a-zA-Z_][a-zA-Z0-9_]*="{_TEXT}"'
_LINE = re.compile(
    rf"([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{{({_PAIR}(?:,{_PAIR})*+,?)?\}})? "
    r"([-+]?(?:[0-9]+(?:\.[0-9]*)?(?:[eE][-+]?[0-9]+)?|Inf|NaN))(?: [0-9]{1,16}(?:\.[0-9]{1,9})?)?"
)
_LABEL = re.compile(rf'([a-zA-Z0-9_]+)="({_TEXT})"')
#: What a line begins with; a line that begins with a brace has its name in there, in front as it should be or behind.
_NAME = re.compile(rf'\{{\s*"({_TEXT})"\s*[,}}]|\{{|[^{{\s]*')

#: After a sample of OpenMetrics.
_EXEMPLAR = re.compile(rf'([^{{}}"#]*(?:\{{[^"{{}}]*+(?:"{_TEXT}"[^"{{}}]*+)*+\}}[^{{}}"#]*)?) # \{{')
_OPENMETRICS_END = "# EOF"
#: The time of prometheus_client's parser grows with the square of a line's length: this is 5 ms.
_LINE_CHARS_MAX = 8192
#: And of one page it reads no more than this.
_PAGE_CHARS_MAX = 65536


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
    """The samples of a page whose names are ``wanted``, in its order. ValueError for a wanted line that is none.

    Also when more than ``_PAGE_CHARS_MAX`` characters of wanted lines are written as no server writes them.
    """
    left = _PAGE_CHARS_MAX
    for raw in text.split("\n"):
        line = raw.strip()
        begin = _NAME.match(line)
        assert begin is not None, "it matches nothing as well"
        name = begin[1] or begin[0]
        if name not in wanted and name != "{":
            continue
        found = _LINE.fullmatch(line)
        pairs = _LABEL.findall(found[2] or "") if found else []
        labels = {label: _unescaped(value) for label, value in pairs}
        if found is None or len(labels) < len(pairs) or "__name__" in labels:
            left -= len(line)
            if len(line) > _LINE_CHARS_MAX or left < 0:
                raise ValueError(f"no sample that can be read in time: {line[:80]!r}")
            yield from _written_otherwise(line, wanted)
        else:
            yield Sample(found[1], labels, float(found[3]))


def _unescaped(text: str) -> str:
    """A label's value; a backslash before anything but a backslash, a quote or an n stands for itself."""
    if "\\" not in text:
        return text
    return "\\".join(part.replace('\\"', '"').replace("\\n", "\n") for part in text.split("\\\\"))


def _written_otherwise(line: str, wanted: Container[str]) -> Iterator[Sample]:
    try:
        found = [sample for family in text_string_to_metric_families(line + "\n") for sample in family.samples]
        yield from (Sample(name, labels, float(value)) for name, labels, value, *_ in found if name in wanted)
    except (IndexError, OverflowError) as error:  # it reads past the end of some lines; an integer beyond a float
        raise ValueError(f"no sample: {line[:80]!r}") from error
