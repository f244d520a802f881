"""The report as headless Chromium shows it: charts are drawn, react to the pointer, need neither network nor script."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page, sync_playwright

from harness.judge import drill, verdicts
from harness.model.errors import MissingTool
from reports import render
from stack import tools
from tests import runs

ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking"]
CHART = "figure.chart[data-series]"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Headless Chromium. Without it these tests are skipped, but not in CI: there its absence is a failure."""
    try:
        chromium = tools.require("chromium")
    except MissingTool as error:
        if os.environ.get("CI") == "true":
            pytest.fail(f"CI has no Chromium: {error}")
        pytest.skip(f"NOT LOOKED AT: the report in a browser. {error}")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(
            executable_path=chromium.path, args=ARGUMENTS, env={**os.environ, **chromium.env}
        )
        yield started
        started.close()


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
            """groups => groups.filter(group => {
                const box = group.getBoundingClientRect();
                const paths = [...group.querySelectorAll('path, use')];
                const drawn = paths.some(p => p.tagName === 'use' || (p.getAttribute('d') || '').length > 4);
                return drawn && box.width > 1 && box.height >= 0;
            }).length""",
        )
    )


def test_charts_are_drawn(page: Page) -> None:
    """Every series that the page promises is there with something in it: more than eight curves in six charts."""
    promised = sum(int(str(f.get_attribute("data-series"))) for f in page.locator(CHART).all())
    assert page.locator(CHART).count() == 8
    assert promised > 8
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


def test_hover_shows_values_and_one_cursor_in_all_charts(page: Page) -> None:
    """Pointing at a chart tells time and the value of each series, and marks the same moment in every chart."""
    chart = page.locator("#running")
    page.mouse.move(*centre(chart))
    shown = page.locator("#hover").inner_text()
    assert re.match(r"t = \d+\.\d s\n", shown)
    assert re.search(r"replica-1: \d+(\.\d+)? requests", shown)
    assert re.search(r"replica-2: ", shown)
    cursors = page.locator(".cursor").all()
    assert len(cursors) == page.locator(CHART).count()
    assert all(cursor.is_visible() for cursor in cursors)
    page.mouse.move(5, 5)
    assert not page.locator("#hover").is_visible()
    assert not any(cursor.is_visible() for cursor in cursors)


def test_cursor_stands_where_the_pointer_is(page: Page) -> None:
    """The cursor line is at the pointer, so the time that is told belongs to what is seen."""
    chart = page.locator("#running")
    x, y = centre(chart, 0.4)
    page.mouse.move(x, y)
    box = chart.locator(".cursor").bounding_box()
    assert box is not None
    assert abs(box["x"] - x) < 2


def boxes(page: Page) -> list[str]:
    """The stretch that each picture shows."""
    return [str(svg.get_attribute("viewBox")) for svg in page.locator(f"{CHART} .plot > svg").all()]


def test_drag_zooms_and_double_click_shows_all_again(page: Page) -> None:
    """Dragging over a stretch shows that stretch in all charts; a double click undoes it."""
    before, chart = boxes(page), page.locator("#running")
    (left, y), (right, _) = centre(chart, 0.3), centre(chart, 0.5)
    page.mouse.move(left, y)
    page.mouse.down()
    page.mouse.move(right, y, steps=4)
    page.mouse.up()
    zoomed = boxes(page)
    assert all(now != then for now, then in zip(zoomed, before, strict=True))
    widths = [float(box.split()[2]) / float(whole.split()[2]) for box, whole in zip(zoomed, before, strict=True)]
    assert all(0.1 < width < 0.3 for width in widths)
    page.mouse.dblclick(*centre(chart))
    assert boxes(page) == before


def test_charts_stand_without_script(browser: Browser, report: Path) -> None:
    """With JavaScript off every chart is there: the pictures are made when the page is written."""
    context = browser.new_context(java_script_enabled=False, viewport={"width": 1280, "height": 900})
    opened = context.new_page()
    opened.goto(report.as_uri())
    pictures = opened.locator(f"{CHART} .plot > svg").all()
    assert len(pictures) == 8
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
    assert not page.locator("#hover").is_visible()
    pictures = page.locator(f"{CHART} .plot > svg").all()
    assert len(pictures) == 8
    for picture in pictures:
        box = picture.bounding_box()
        assert box is not None
        assert box["height"] > 100


def test_nothing_is_wider_than_the_page(page: Page) -> None:
    """No table or chart makes the whole page scroll sideways."""
    assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
