"""The report in a real headless browser: no errors, no requests, tables that sort, words for every picture."""

import base64
import json

import pytest

from daytwo.evaluation.report import write_report
from tests.evaluation import browser
from tests.evaluation.examples import everybody, fill

pytest.importorskip("selenium", reason="needs Selenium: pip install 'daytwo[dev]'")
pytestmark = pytest.mark.skipif(
    browser.find() is None,
    reason="needs Chromium and chromedriver (Debian and Ubuntu: apt install chromium chromium-driver)",
)


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    fill(folder / "r.sqlite", everybody())
    return write_report(folder / "r.sqlite", folder / "report.html").paths[0]


@pytest.fixture(scope="module")
def driver():
    started = browser.start()
    yield started
    started.quit()


@pytest.fixture
def opened(driver, page):
    driver.get_log("performance"), driver.get_log("browser")
    driver.get(page.as_uri())
    return driver


def first_column(driver, table):
    return column(driver, table, 0)


def column(driver, table, number):
    return driver.execute_script(
        "return [...document.getElementById(arguments[0]).tBodies[0].rows]"
        ".map(row => row.cells[arguments[1]].dataset.value)",
        table,
        number,
    )


def heading(driver, table, words):
    for button in driver.find_elements("css selector", f"#{table} thead button"):
        if button.text.split("\n")[0].strip() == words:
            return button
    raise AssertionError(f"no heading {words}")


def test_it_opens_without_an_error_and_asks_for_nothing(opened):
    assert opened.title.startswith("DayTwo report")
    assert opened.get_log("browser") == []
    messages = [json.loads(entry["message"])["message"] for entry in opened.get_log("performance")]
    asked = [one["params"]["request"]["url"] for one in messages if one["method"] == "Network.requestWillBeSent"]
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
    assert len([url for url in asked if url.startswith("file:")]) == 1  # the page itself


def test_a_request_that_slipped_in_would_be_blocked(opened):
    done = opened.execute_async_script(
        "const done = arguments[0]; const image = new Image(); image.onload = () => done('loaded');"
        "image.onerror = () => done('blocked'); image.src = 'https://example.org/x.png';"
    )
    assert done == "blocked"
    assert any("Content Security Policy" in entry["message"] for entry in opened.get_log("browser"))


def test_tables_sort_by_numbers_and_words_and_say_so(opened):
    before = first_column(opened, "g0-table")
    areas = [float(one) for one in column(opened, "g0-table", 1)]
    assert areas == sorted(areas, reverse=True)
    heading(opened, "g0-table", "area").click()
    assert first_column(opened, "g0-table") == before[::-1]
    assert opened.find_element("id", "said").get_attribute("textContent").startswith("Sorted by area")
    heading(opened, "g0-table", "agent").click()
    names = first_column(opened, "g0-table")
    assert names == sorted(names, key=str.casefold) != before
    states = opened.execute_script(
        "return [...document.querySelectorAll('#g0-table th[aria-sort]')].map(th => th.getAttribute('aria-sort'))"
    )
    assert states == ["ascending"]
    heading(opened, "g0-table", "redrawn − twin").click()
    values = column(opened, "g0-table", 7)
    numbers = [float(one) for one in values if one]
    assert numbers == sorted(numbers, reverse=True) and values[-1] == ""  # what was not run comes last


def test_the_leaderboard_sorts_by_keyboard(opened):
    from selenium.webdriver.common.keys import Keys

    before = first_column(opened, "leaderboard-0")
    button = heading(opened, "leaderboard-0", "suite score")
    opened.execute_script("arguments[0].focus()", button)
    opened.switch_to.active_element.send_keys(Keys.ENTER)
    assert first_column(opened, "leaderboard-0") == before[::-1]


def test_differences_are_shown_against_the_agent_that_is_chosen(opened):
    from selenium.webdriver.support.ui import Select

    select = opened.find_element("css selector", "select.against")
    row = "#g0-table tr[data-agent='{}'] td.difference"
    tags = {option.text: option.get_attribute("value") for option in select.find_elements("tag name", "option")}
    assert opened.find_element("css selector", row.format(tags["learner"])).text == "–"
    before = opened.find_element("css selector", row.format(tags["random"])).text
    Select(select).select_by_visible_text("random")
    assert opened.find_element("css selector", row.format(tags["random"])).text == "–"
    after = opened.find_element("css selector", row.format(tags["learner"])).text
    value, turned = (float(text.split()[0].replace("−", "-")) for text in (before, after))
    assert value == -turned != 0


def test_every_picture_has_a_text_alternative_and_every_control_a_name(opened):
    named = opened.execute_script(
        "return [...document.querySelectorAll('svg[role=img]')].map(svg => svg.getAttribute('aria-labelledby')"
        ".split(' ').map(id => document.getElementById(id).textContent.trim()))"
    )
    assert len(named) == 7 and all(len(title) > 10 and len(words) > 30 for title, words in named)
    silent = opened.execute_script(
        "return [...document.querySelectorAll('svg')].filter(svg => svg.getAttribute('role') !== 'img'"
        " && svg.getAttribute('aria-hidden') !== 'true').length"
    )
    assert silent == 0
    tree = opened.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    controls = [one for one in tree if one.get("role", {}).get("value") in ("button", "combobox", "img", "link")]
    assert len(controls) > 30
    assert [one for one in controls if not one["ignored"] and not one.get("name", {}).get("value")] == []


def test_pointing_at_a_row_singles_its_curve_out(opened):
    row = opened.find_element("css selector", "#g0-table tr[data-curve]")
    opened.execute_script("arguments[0].dispatchEvent(new MouseEvent('mouseenter'))", row)
    chosen = opened.execute_script(
        "return [...document.querySelectorAll('#g0 .chosen')].map(one => one.querySelector('title').textContent)"
    )
    assert chosen and set(chosen) == {row.find_element("tag name", "th").get_attribute("data-value")}
    opened.execute_script("arguments[0].dispatchEvent(new MouseEvent('mouseleave'))", row)
    assert opened.find_elements("css selector", "#g0 .choosing") == []


@pytest.mark.parametrize("scheme, dark", [("light", False), ("dark", True)])
def test_light_and_dark_follow_the_reader_and_can_be_read(opened, scheme, dark):
    wanted = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    opened.execute_cdp_cmd("Emulation.setEmulatedMedia", wanted)
    paper, ink, muted, bad, box = opened.execute_script(
        "const style = getComputedStyle(document.documentElement);"
        "return ['paper', 'ink', 'muted', 'bad', 'box'].map(name => style.getPropertyValue('--' + name).trim())"
    )
    assert (luminance(paper) < 0.5) is dark
    for colour in (ink, muted, bad):
        assert contrast(colour, paper) >= 4.5 and contrast(colour, box) >= 4.5, (scheme, colour)
    assert opened.execute_script("return getComputedStyle(document.body).backgroundColor") == rgb(paper)
    opened.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def parts(colour):
    return [int(colour.lstrip("#")[k : k + 2], 16) for k in (0, 2, 4)]


def rgb(colour):
    return f"rgb({', '.join(map(str, parts(colour)))})"


def luminance(colour):
    linear = [
        one / 12.92 if one <= 0.04045 else ((one + 0.055) / 1.055) ** 2.4 for one in (x / 255 for x in parts(colour))
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one, other):
    """The contrast ratio of the Web Content Accessibility Guidelines 2.1."""
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_nothing_is_wider_than_the_page_on_a_small_screen(opened):
    opened.set_window_size(500, 900)
    overflow = opened.execute_script(
        "return document.documentElement.scrollWidth - document.documentElement.clientWidth"
    )
    opened.set_window_size(1280, 1000)
    assert overflow <= 0


def test_it_prints(opened):
    printed = base64.b64decode(opened.execute_cdp_cmd("Page.printToPDF", {"printBackground": False})["data"])
    assert printed.startswith(b"%PDF") and len(printed) > 30_000


def test_without_scripts_it_says_the_same(opened, page):
    opened.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        opened.get(page.as_uri())
        assert opened.find_element("id", "g0-table").text.count("[") > 20
        assert "Differences are against" in opened.find_element("tag name", "main").text
    finally:
        opened.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
