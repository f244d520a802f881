"""The report as headless Chromium shows it: charts are drawn, react to pointer and keys, need no network, no script."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page

from harness.judge import drill, verdicts
from reports import render
from tests import runs
from tests.browser import started

CHART = "figure.chart[data-series]"
#: Charts of the healthy run in which something was measured.
DRAWN = 14


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Headless Chromium."""
    with started() as found:
        yield found


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a healthy run."""
    folder = runs.healthy_run(tmp_path_factory.mktemp("report") / "run")
    verdicts.write(folder, verdicts.judge(folder, drill.load("timeout-spike")))
    return render.render(folder)


@pytest.fixture
def page(browser: Browser, report: Path) -> Iterator[Page]:
    """The report, opened; afterwards: no error on the console, none on the page, and nothing fetched but the file."""
    troubles: list[str] = []
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    opened = context.new_page()
    opened.on("console", lambda message: troubles.append(message.text) if message.type == "error" else None)
    opened.on("pageerror", lambda error: troubles.append(str(error)))
    opened.on("request", lambda request: None if _own(request.url, report) else troubles.append(request.url))
    opened.goto(report.as_uri())
    yield opened
    context.close()
    assert troubles == []


def _own(url: str, report: Path) -> bool:
    return url == report.as_uri() or url.startswith("data:")


def visible_series(page: Page) -> int:
    """How many series are drawn with a path or marks that have a size on the screen."""
    return int(
        page.eval_on_selector_all(
            "[id^='series-']",
            """paths => paths.filter(path => {
                const box = path.getBoundingClientRect();
                return path.getAttribute('d').length > 4 && box.width > 1 && box.height >= 0;
            }).length""",
        )
    )


def test_charts_are_drawn(page: Page) -> None:
    """Every series that the page promises is drawn by uPlot, on a canvas with something on it, and on paper as well."""
    promised = sum(int(str(f.get_attribute("data-series"))) for f in page.locator(CHART).all())
    count = page.locator(CHART).count()
    assert count == DRAWN
    assert promised > 20
    assert page.locator(f"{CHART} .u-over").count() == count
    painted = page.eval_on_selector_all(
        f"{CHART} canvas",
        """all => all.filter(one => {
            const { data } = one.getContext('2d').getImageData(0, 0, one.width, one.height);
            return data.some(part => part !== 0);
        }).length""",
    )
    assert painted == count
    page.emulate_media(media="print")
    assert visible_series(page) == promised


def test_verdict_is_in_sight_at_once(page: Page) -> None:
    """Without scrolling, the reader sees the verdict and its reason."""
    for part in ("header .badge", "header .reason"):
        box = page.locator(part).bounding_box()
        assert box is not None
        assert 0 <= box["y"] < 300


def centre(chart: Locator, part: float = 0.5) -> tuple[float, float]:
    """A point of the plot at that part of its width."""
    chart.scroll_into_view_if_needed()
    box = chart.locator(".plot").bounding_box()
    assert box is not None
    return box["x"] + part * box["width"], box["y"] + 0.5 * box["height"]


def shown_values(page: Page, name: str) -> list[str]:
    """What the legend of a chart says."""
    return [" ".join(item.inner_text().split()) for item in page.locator(f"#{name} .legend li").all()]


def test_hover_shows_values_and_one_cursor_in_all_charts(page: Page) -> None:
    """Pointing at a chart shows time and the value of each series, and marks the same moment in every chart."""
    before = shown_values(page, "running")
    x, y = centre(page.locator("#running"))
    page.mouse.move(x, y)
    assert re.match(r"t = \d+\.\d s", page.locator(".strip output").inner_text())
    assert re.fullmatch(r"replica-1 \d+(\.\d+)? requests", shown_values(page, "running")[0])
    assert re.fullmatch(r"p50 [\d.,]+ ms", shown_values(page, "ttft")[0])
    cursors = page.locator(".u-cursor-x").all()
    assert len(cursors) == page.locator(CHART).count()
    for cursor in cursors:
        box = cursor.bounding_box()
        assert box is not None
        assert abs(box["x"] - x) < 3
    page.mouse.move(5, 5)
    assert shown_values(page, "running") == before


def test_a_hole_is_not_measured_under_the_cursor(browser: Browser, tmp_path: Path) -> None:
    """Where a replica was not sampled, the cursor finds no value, and the picture says that data is incomplete."""
    run = runs.healthy()
    begin, end = run.span("recovery-one")
    hole = run.metrics["component"].eq("replica-1") & run.metrics["t_s"].between(begin + 1, end - 1)
    run.metrics = run.metrics[~hole]
    folder = run.write(tmp_path / "run")
    verdicts.write(folder, verdicts.judge(folder, drill.load("timeout-spike")))
    opened = browser.new_page(viewport={"width": 1280, "height": 900})
    opened.goto(render.render(folder).as_uri())
    span = opened.evaluate("JSON.parse(document.querySelector('#running script').textContent).span")
    box = opened.locator("#running .u-over").bounding_box()
    assert box is not None
    opened.locator("#running").scroll_into_view_if_needed()
    box = opened.locator("#running .u-over").bounding_box()
    assert box is not None
    opened.mouse.move(box["x"] + box["width"] * ((begin + end) / 2 - span[0]) / (span[1] - span[0]), box["y"] + 50)
    assert shown_values(opened, "running")[0] == "replica-1 not measured"
    assert re.fullmatch(r"replica-2 \d+ requests", shown_values(opened, "running")[1])
    assert "data incomplete" in opened.locator("#running").inner_text()
    opened.close()


def stretch(page: Page) -> tuple[float, float]:
    """The seconds that the strip shows, and with it every chart."""
    begin, end = (
        page.locator(".strip.head").evaluate(f"e => e.style.getPropertyValue('--{edge}')") for edge in ("begin", "end")
    )
    return float(begin), float(end)


def test_drag_zooms_and_double_click_shows_all_again(page: Page) -> None:
    """Dragging over a stretch shows that stretch in all charts; a double click undoes it, and so does the button."""
    before, chart = stretch(page), page.locator("#running")
    seconds = before[1] - before[0]
    for undo in (lambda: page.mouse.dblclick(*centre(chart)), page.locator(".strip button").click):
        (left, y), (right, _) = centre(chart, 0.3), centre(chart, 0.5)
        page.mouse.move(left, y)
        page.mouse.down()
        page.mouse.move(right, y, steps=4)
        page.mouse.up()
        begin, end = stretch(page)
        assert 0.1 * seconds < end - begin < 0.3 * seconds
        assert before[0] < begin < end < before[1]
        ticks = page.locator("#outcomes .u-axis").count()
        assert ticks == 2
        undo()
        assert stretch(page) == before
        assert page.locator(".strip button").is_hidden()


def test_keys_move_the_cursor_and_zoom(page: Page) -> None:
    """Whoever has no pointer gets the same: values under a cursor that arrows move, and zoom around it."""
    before = stretch(page)
    page.locator("#running .plot").focus()
    page.keyboard.press("ArrowRight")
    first = page.locator(".strip output").inner_text()
    assert re.match(r"t = \d+\.\d s", first)
    assert shown_values(page, "running")[0].endswith("requests")
    page.keyboard.press("ArrowRight")
    assert page.locator(".strip output").inner_text() != first
    page.keyboard.press("+")
    begin, end = stretch(page)
    assert end - begin == pytest.approx((before[1] - before[0]) / 2, rel=0.05)
    page.keyboard.press("-")
    assert stretch(page) == before
    page.keyboard.press("+")
    page.keyboard.press("Escape")
    assert stretch(page) == before


def test_a_link_to_a_moment_shows_it(page: Page) -> None:
    """A link that names a stretch shows it, with as much before and after; without script it leads to the timeline."""
    before = stretch(page)
    page.evaluate(
        """() => document.querySelector("header").insertAdjacentHTML(
            "beforeend", '<a href="#timeline" data-from="50" data-to="60">then</a>')"""
    )
    page.get_by_text("then", exact=True).click()
    assert stretch(page) == (40.0, 70.0)
    assert before[0] < 40 < 70 < before[1]


def test_what_a_link_names_is_shaded(page: Page) -> None:
    """Two links that show the same stretch for different moments do not give the same picture; one twice does."""
    begin, _ = stretch(page)
    pictures = []
    for since, until in ((1, 11), (3, 12), (1, 11)):
        page.evaluate(
            """([from, to]) => document.querySelector("header").insertAdjacentHTML(
                "beforeend", `<a href="#timeline" data-from="${from}" data-to="${to}">then</a>`)""",
            [begin + since, begin + until],
        )
        page.get_by_text("then", exact=True).last.click()
        assert stretch(page) == (pytest.approx(begin), pytest.approx(begin + 21))
        page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
        pictures.append(page.evaluate("document.querySelector('#running canvas').toDataURL()"))
    assert pictures[0] != pictures[1]
    assert pictures[0] == pictures[2]


def test_charts_follow_the_page_into_the_dark(page: Page) -> None:
    """Where the page says that it can be dark, curves and what is around them have colours for it, drawn anew."""
    picture = "document.querySelector('#running canvas').toDataURL()"
    key = "getComputedStyle(document.querySelector('#running .key')).borderTopColor"
    page.add_style_tag(content=":root { color-scheme: light dark; }")
    light, colour = page.evaluate(picture), page.evaluate(key)
    page.emulate_media(color_scheme="dark")
    assert page.evaluate(key) != colour
    page.wait_for_function(f"before => {picture} !== before", arg=light)
    page.emulate_media(color_scheme="light")
    assert page.evaluate(key) == colour


def test_names_of_phases_and_faults_do_not_overlap(page: Page) -> None:
    """On a desk and on a phone, and zoomed: no two names of the strip share a point."""
    for width in (1440, 390):
        page.set_viewport_size({"width": width, "height": 900})
        boxes = page.eval_on_selector_all(
            ".strip .row span",
            "all => all.map(e => e.getBoundingClientRect()).map(b => [b.left, b.top, b.right, b.bottom])",
        )
        seen = [box for box in boxes if box[2] - box[0] > 1]
        assert len(seen) > 8
        for n, one in enumerate(seen):
            for other in seen[n + 1 :]:
                apart = one[2] <= other[0] + 1 or other[2] <= one[0] + 1 or one[3] <= other[1] or other[3] <= one[1]
                assert apart, (one, other)


def test_charts_stand_without_script(browser: Browser, report: Path) -> None:
    """With JavaScript off every chart is there: the pictures are made when the page is written."""
    context = browser.new_context(java_script_enabled=False, viewport={"width": 1280, "height": 900})
    opened = context.new_page()
    opened.goto(report.as_uri())
    pictures = opened.locator(f"{CHART} .still svg.curves").all()
    assert len(pictures) == DRAWN
    for picture in pictures:
        box = picture.bounding_box()
        assert box is not None
        assert box["width"] > 500
        assert box["height"] > 100
    context.close()


def test_charts_stand_in_print(page: Page) -> None:
    """On paper the charts are there, and what belongs to the screen is not."""
    page.mouse.move(*centre(page.locator("#running")))
    page.emulate_media(media="print")
    assert not any(one.is_visible() for one in page.locator(".uplot").all())
    pictures = page.locator(f"{CHART} .still svg.curves").all()
    assert len(pictures) == DRAWN
    for picture in pictures:
        box = picture.bounding_box()
        assert box is not None
        assert box["height"] > 80


def test_nothing_is_wider_than_the_page(page: Page) -> None:
    """No table or chart makes the whole page scroll sideways."""
    assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
