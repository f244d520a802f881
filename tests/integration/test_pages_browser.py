"""Every kind of page, looked at: axe-core, nothing wider than the screen or cut on paper, and nothing fetched."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import pytest
from playwright.sync_api import Browser, Page

from harness.evidence.record import RunFolder
from harness.judge import compare, drill, verdicts
from harness.plan import games
from reports import render
from reports.pages import compare as comparison
from reports.pages import game_pack, nightly
from stack.tools import axe
from tests import nights
from tests.browser import started

STORED = drill.ROOT / "tests" / "fixtures" / "runs"
SERIOUS = ("serious", "critical")
#: Points of a sheet's width that are left for a page: A4, less what browsers leave blank.
SHEET = 718

NO_SCRIPT = {"Content-Type": "text/html", "Content-Security-Policy": "script-src 'none'"}
UNFOLD = "document.querySelectorAll('details').forEach(one => { one.open = true; })"
AXE = """async () => (await axe.run({ resultTypes: ['violations'], selectors: false })).violations.map(
    one => [one.impact, one.id, one.nodes[0].html.slice(0, 160)])"""
TOO_WIDE = """document.documentElement.scrollWidth > document.documentElement.clientWidth"""
#: What is wrong on paper. Names in the strip and in pictures may be shortened: tables and lines below have them whole.
ON_PAPER = """() => {
    const said = [], page = document.documentElement.clientWidth, short = '.strip *, .plot *';
    const say = (what, one) => said.push(`${what}: ${one.outerHTML.slice(0, 120)}`);
    const dark = colour => {
        const [r, g, b, alpha] = colour.match(/[\\d.]+/g).map(Number);
        return (alpha ?? 1) > 0.5 && 0.3 * r + 0.6 * g + 0.1 * b < 100;
    };
    if (dark(getComputedStyle(document.documentElement).backgroundColor)) say('dark', document.documentElement);
    for (const one of document.querySelectorAll('body, body *')) {
        if (!one.checkVisibility({ visibilityProperty: true })) continue;
        const box = one.getBoundingClientRect(), style = getComputedStyle(one);
        if (box.right > page + 1 && box.width > 1) say('wider than the page', one);
        if (style.overflowX !== 'visible' && one.scrollWidth > one.clientWidth + 1 && one.clientWidth > 1
            && !one.matches(short)) say('cut', one);
        if (box.width > page / 2 && dark(style.backgroundColor)) say('dark', one);
    }
    for (const one of document.querySelectorAll('details > :not(summary)')) {
        if (!one.checkVisibility()) say('folded', one.parentElement);
    }
    for (const one of document.querySelectorAll('.plot .still')) {
        if (one.getBoundingClientRect().height < 50) say('no picture', one.parentElement);
    }
    for (const one of document.querySelectorAll('.uplot')) {
        if (one.checkVisibility()) say('canvas', one);
    }
    return said;
}"""


@dataclass(frozen=True)
class View:
    """How a page is looked at: on a screen so wide, or on paper."""

    width: int
    scheme: Literal["light", "dark"] = "light"
    script: bool = True

    @property
    def media(self) -> Literal["screen", "print"]:
        """What it is shown on."""
        return "print" if self.width == SHEET else "screen"

    def __str__(self) -> str:
        """For the names of tests."""
        on = "paper" if self.media == "print" else str(self.width)
        return f"{on}-{self.scheme}" + ("" if self.script else "-without-script")


@dataclass
class Pages:
    """Each kind of page, made when a test asks for it."""

    folder: Path

    def path(self, kind: str) -> Path:
        """The page of that kind."""
        made: Path = getattr(self, kind)
        return made

    @cached_property
    def passed(self) -> Path:
        """A drill's report: PASS."""
        return self._report("timeout-spike/green")

    @cached_property
    def failed(self) -> Path:
        """FAIL."""
        return self._report("model-swap/red")

    @cached_property
    def longest(self) -> Path:
        """FAIL, with red checks of many kinds and more rows in every table than any other stored run has."""
        return self._report("gateway-failover/red")

    @cached_property
    def inconclusive(self) -> Path:
        """INCONCLUSIVE."""
        return self._report("model-swap")

    @cached_property
    def night(self) -> Path:
        """A night with a regression, and twenty nights before it."""
        folder = self.folder / "nightly"
        folder.mkdir()
        made = nights.make(21, self.folder / "of-nights", slower_since=12)
        return nightly.write(made.history(), folder, ("make", "nightly"))

    @cached_property
    def compared(self) -> Path:
        """Two runs that differ in much."""
        path = self.folder / "compare.html"
        two = (compare.side(STORED / "timeout-spike" / colour) for colour in ("green", "red"))
        comparison.write(compare.compare(*two), path)
        return path

    @cached_property
    def pack(self) -> Path:
        """What facilitators of a game print."""
        return self._of_game("facilitator-pack")

    @cached_property
    def brief(self) -> Path:
        """What its players are given."""
        return self._of_game("player-brief")

    def _of_game(self, kind: str) -> Path:
        written = game_pack.write(games.load(games.find("bad-night")), self.folder)
        return next(path for path in written if path.stem.endswith(kind))

    def _report(self, stored: str) -> Path:
        ignored = shutil.ignore_patterns("green", "red")
        folder = RunFolder(shutil.copytree(STORED / stored, self.folder / stored.replace("/", "-"), ignore=ignored))
        verdicts.write(folder, verdicts.judge(folder, drill.load(folder.plan()["drill"])))
        return render.render(folder)


KINDS = ("passed", "failed", "longest", "inconclusive", "night", "compared", "pack", "brief")
SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
EVERY = [
    (kind, View(width, scheme, script))
    for kind in KINDS
    for width in (1440, 390, SHEET)
    for scheme in SCHEMES
    for script in (True, False)
]
#: What every run of the tests looks at: each kind, width, scheme and medium once at least.
SOME = [
    ("failed", View(1440, "dark")),
    ("failed", View(SHEET, "dark")),
    ("passed", View(SHEET, script=False)),
    ("inconclusive", View(390, script=False)),
    ("night", View(390, "dark")),
    ("night", View(SHEET, "dark")),
    ("compared", View(390)),
    ("compared", View(SHEET)),
    ("pack", View(390, "dark")),
    ("pack", View(SHEET)),
    ("brief", View(1440)),
    ("brief", View(SHEET, "dark")),
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Headless Chromium."""
    with started() as found:
        yield found


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Pages:
    """Every kind of page."""
    return Pages(tmp_path_factory.mktemp("pages"))


def look(browser: Browser, path: Path, view: View) -> list[str]:
    """What is wrong with a page in that view; nothing is fetched for it but itself."""
    wrong: list[str] = []
    context = browser.new_context(viewport={"width": view.width, "height": 900}, color_scheme=view.scheme)
    page = context.new_page()
    if not view.script:  # its own: axe-core has to run all the same
        page.route(path.as_uri(), lambda route: route.fulfill(path=path, headers=NO_SCRIPT))
    page.on("request", lambda request: None if _own(request.url, path) else wrong.append(f"fetched: {request.url}"))
    page.emulate_media(media=view.media, color_scheme=view.scheme)
    page.goto(path.as_uri())
    if view.media == "print":
        wrong += page.evaluate(ON_PAPER)
    wrong += _too_wide(page, "folded")
    page.evaluate(UNFOLD)
    wrong += _too_wide(page, "unfolded")
    page.evaluate(axe.require())
    found = page.evaluate(AXE)
    wrong += [f"axe: {impact}: {rule}: {html}" for impact, rule, html in found if impact in SERIOUS]
    context.close()
    return wrong


def _own(url: str, path: Path) -> bool:
    return url == path.as_uri() or url.startswith("data:")


def _too_wide(page: Page, how: str) -> list[str]:
    return [f"wider than the screen, {how}"] if page.evaluate(TOO_WIDE) else []


@pytest.mark.parametrize(("kind", "view"), SOME, ids=str)
def test_a_page_is_fit_to_be_read(browser: Browser, pages: Pages, kind: str, view: View) -> None:
    """No serious finding of axe-core, nothing cut, folded away or too wide, nothing fetched."""
    assert look(browser, pages.path(kind), view) == []


@pytest.mark.night
@pytest.mark.parametrize(("kind", "view"), [one for one in EVERY if one not in SOME], ids=str)
def test_every_page_is_fit_to_be_read_in_every_view(browser: Browser, pages: Pages, kind: str, view: View) -> None:
    """The same of all that is left."""
    assert look(browser, pages.path(kind), view) == []


ON_A_SCREEN = """
    <p style="color: #bbb; background: #fff">hardly to be read</p>
    <img src="data:,">
    <img alt="" src="http://127.0.0.1:9/one.png">
    <p style="width: 5000px">wide</p>
"""
UNFOLDED = "<details><summary>more</summary><p style='width: 5000px'>wide</p></details>"
ON_A_SHEET = """
    <div style="overflow: auto"><p style="width: 1000px">wide</p></div>
    <details id="shut"><p>folded</p></details>
    <style>@media print {
        #shut::details-content { content-visibility: hidden !important; }
        .plot .still { display: none; }
        .plot .uplot { display: block !important; }
        body { background: #123 !important; }
    }</style>
"""


@pytest.mark.parametrize(
    ("broken", "view", "said"),
    [
        (
            ON_A_SCREEN,
            View(1440),
            (
                "axe: serious: color-contrast: <p",
                "axe: critical: image-alt: <img",
                "wider than the screen, folded",
                "fetched: http://127.0.0.1:9/one.png",
            ),
        ),
        (UNFOLDED, View(390), ("wider than the screen, unfolded",)),
        (
            ON_A_SHEET,
            View(SHEET, "dark"),
            ("cut: <div", "wider than the page: <p", "folded: <details", "no picture: ", "canvas: ", "dark: <body"),
        ),
    ],
    ids=("screen", "unfolded", "paper"),
)
def test_what_is_wrong_with_a_page_is_seen(
    browser: Browser, pages: Pages, tmp_path: Path, broken: str, view: View, said: tuple[str, ...]
) -> None:
    """Each of these defects, put into a page with nothing wrong, is found; the page without them has none."""
    path = tmp_path / "broken.html"
    path.write_text(pages.path("inconclusive").read_text().replace("</main>", f"{broken}</main>"))
    found = look(browser, path, view)
    assert [one for one in said if not any(of.startswith(one) for of in found)] == [], found
