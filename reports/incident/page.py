"""An incident report as one HTML file that needs no network and no JavaScript."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html.parser import HTMLParser

from markupsafe import Markup

from harness.model.incident import Blank, Block, Figure, Inline, Items, Lines, Link, Report, Source, Table, Text
from reports import panel
from reports.incident import sources
from reports.markdown import cut, line

#: So much of the logs is on the page: the JSON and the Markdown have all of it.
_LOG_LINES_MAX, _LOG_LINE_CHARACTERS_MAX = 200, 1000


def render(report: Report, command: str) -> str:
    """The whole page; ``command`` verifies it."""
    body = _Body(report)
    style = "".join((panel.TEMPLATES / name).read_text(encoding="utf-8") for name in ("report.css", "incident.css"))
    return panel.template("incident.html.j2").render(
        title=line(report.title),
        status=body.blank(report.status),
        made_from=[(line(name), line(value)) for name, value in report.made_from.items()],
        sections=body.sections(),
        open_blanks=sum(not blank.text for blank in report.blanks().values()),
        command=line(command),
        style=Markup(style),
    )


def numbers(html: str) -> Iterator[tuple[str, str]]:
    """(id, number as people see it) of every figure of a page; where its ``value`` is another, that, too."""
    reader = _Numbers()
    reader.feed(html)
    reader.close()
    yield from reader.found


class _Numbers(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, str]] = []
        self._id, self._value, self._texts = "", "", list[str]()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """A number begins."""
        given = dict(attrs)
        if tag == "data" and (id_ := given.get("data-figure")):
            self._id, self._value, self._texts = id_, given.get("value") or "", []

    def handle_data(self, data: str) -> None:
        """Some of its text, if it is in a number."""
        if self._id:
            self._texts.append(data)

    def handle_endtag(self, tag: str) -> None:
        """A number ends."""
        if tag == "data" and self._id:
            shown = line("".join(self._texts))
            self.found += [(self._id, shown)] + [(self._id, self._value)] * (self._value != shown)
            self._id = ""


class _Body:
    """What stands below the headings. An element's id is in the page once, a figure may be there more often."""

    def __init__(self, report: Report) -> None:
        self.report = report
        self.entries = {source: f"source-{n}" for n, source in enumerate(sources.every(report), 1)}
        self.seen = set[str]()

    def sections(self) -> list[tuple[str, str, Markup]]:
        """(id of the element, title, body)."""
        found = [
            (f"section-{number}", line(one.title), Markup("\n").join(map(self._block, one.blocks)))
            for number, one in enumerate(self.report.sections, 1)
        ]
        if self.report.people:
            found.append(("no-longer-asked-for", "No longer asked for", self._left()))
        if self.entries:
            found.append(("sources", "Sources", self._sources()))
        return found

    def blank(self, blank: Blank) -> Markup:
        """Inside of a line."""
        if not blank.text:
            return Markup('<span class="blank open"><span class="sr">to be filled in: </span>{}</span>').format(
                line(blank.asks)
            )
        return Markup('<span class="blank">{}</span>').format(_lines(blank.text.strip()))

    def _left(self) -> Markup:
        said = Markup("<p>People wrote this in incident.md, in places that this report no longer has.</p>")
        kept = (
            Markup('<h3>{}</h3><div class="blank">{}</div>').format(id_, _lines(text))
            for id_, text in self.report.people.items()
        )
        return said + Markup("").join(kept)

    def _block(self, block: Block) -> Markup:
        match block:
            case Text():
                return Markup("<p>{}</p>").format(self._text(block))
            case Items(items):
                listed = Markup("").join(Markup("<li>{}</li>").format(self._text(item)) for item in items)
                return Markup("<ul>{}</ul>").format(listed)
            case Table(head, rows):
                return panel.table(list(map(line, head)), [[self._text(cell) for cell in row] for row in rows])
            case Lines(lines):
                return _log(lines)
            case Blank(_, asks, text) if text:
                return Markup('<div class="blank" role="group" aria-label="{}">{}</div>').format(
                    line(asks), _lines(text)
                )
            case Blank(_, asks):
                return Markup('<div class="blank open">To be filled in by people, in incident.md: {}</div>').format(
                    line(asks)
                )

    def _text(self, text: Text) -> Markup:
        return Markup("").join(map(self._inline, text.parts))

    def _inline(self, part: Inline) -> Markup:
        match part:
            case Figure():
                return self._figure(part)
            case Blank():
                return self.blank(part)
            case Link(source):
                return self._linked(source, line(source.place))
            case str():
                return _lines(part)

    def _figure(self, figure: Figure) -> Markup:
        shown = line(figure.text)
        inside = (
            Markup("{}").format(shown) if figure.measured else Markup('<span class="nodata">{}</span>').format(shown)
        )
        if figure.source is not None:
            inside = self._linked(figure.source, inside)
        id_ = "" if figure.id in self.seen else Markup(' id="figure-{}"').format(figure.id)
        self.seen.add(figure.id)
        return Markup('<data{} data-figure="{}" value="{}">{}</data>').format(id_, figure.id, shown, inside)

    def _linked(self, source: Source, inside: str) -> Markup:
        return Markup('<a class="source" href="#{}" title="{}">{}</a>').format(
            self.entries[source], line(sources.sentence(source)), inside
        )

    def _sources(self) -> Markup:
        used: dict[Source, list[str]] = {source: [] for source in self.entries}
        for figure in self.report.figures().values():
            if figure.source is not None:
                used[figure.source].append(figure.id)
        return Markup('<ol class="sources">{}</ol>').format(
            Markup("").join(self._entry(source, label, used[source]) for source, label in self.entries.items())
        )

    def _entry(self, source: Source, label: str, figures: Sequence[str]) -> Markup:
        said = [
            Markup("<b>{}</b>").format(line(source.place)),
            Markup("<code>{}</code>").format(line(source.question)),
            *(Markup("{}").format(line(part)) for part in (sources.stretch(source), source.how) if part),
        ]
        links = (Markup('<a href="#figure-{}">{}</a>').format(id_, id_) for id_ in figures)
        back = (
            Markup("")
            if not figures
            else Markup('<details class="used"><summary>{} shown</summary>{}</details>').format(
                "1 number" if len(figures) == 1 else f"{len(figures)} numbers", Markup(", ").join(links)
            )
        )
        return Markup('<li id="{}" tabindex="-1">{}{}</li>').format(label, Markup("<br>").join(said), back)


def _lines(value: str) -> Markup:
    """Text with the line breaks that it has, without what no page may hold."""
    lines = value.replace("\r\n", "\n").split("\n")
    return Markup("\n").join(map(_printable, lines))


def _printable(value: str) -> Markup:
    kept = "".join(c if c.isprintable() or c == "\t" else "\N{REPLACEMENT CHARACTER}" for c in value)
    return Markup.escape(kept)


def _log(lines: Sequence[str]) -> Markup:
    shown = [_printable(cut(one, _LOG_LINE_CHARACTERS_MAX)) for one in lines[:_LOG_LINES_MAX]]
    more = len(lines) - len(shown)
    note = Markup("<p>{:,} more lines are in incident.md.</p>").format(more) if more else Markup("")
    return Markup('<pre tabindex="0">{}</pre>{}').format(Markup("\n").join(shown), note)
