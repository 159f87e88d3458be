"""The dashboard in a real browser, over a real server: what a customer sees, and what a stranger does not."""

import os
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import Select

from api.analytics.reader import LakeReader
from api.api_keys import ensure_first_key
from api.app import ApiConfig, build_app
from api.geofences.fences import seed_fences
from parkpal.ingest_log import LogWriter
from parkpal.live_log import LiveTail
from pipeline.lake.lake import Lake
from pipeline.log import EventLog
from tests.api.conftest import config, database_url, event_log, lake, server_folder, template_url  # noqa: F401  fixtures
from tests.api.test_analytics import DRIVES, ENOUGH, MONDAY, fill, twice, visit
from tests.api.test_geofences import collection, fence
from tests.browser.serving import serving, wait_for

PERIOD = (MONDAY, MONDAY + timedelta(days=1))
pytestmark = pytest.mark.postgres


@pytest.fixture
def served(config: ApiConfig, event_log: EventLog, lake: Lake, tmp_path: Path) -> Iterator[tuple[str, str]]:  # noqa: F811
    """Serve a day with one busy cell and zone; return the address and a key."""
    entries = [visit("enter", device, MONDAY) for device in ENOUGH for _ in range(2)]
    fill(lake, twice(ENOUGH, MONDAY), trips=DRIVES, geofence_events=entries)
    seed_fences(config.database_url, collection(fence("mall", name="Mall <b>of</b> Asia")))
    ensure_first_key(config.database_url, tmp_path / "key")
    app = build_app(config, LogWriter(event_log), LakeReader(str(lake.root)), LiveTail(event_log))
    with serving(lambda _: app) as address:
        yield f"{address}/dashboard", (tmp_path / "key").read_text().strip()


def ask_for(browser: Chrome) -> None:
    """Ask for the day that has data; the browser lives in UTC."""
    for name, instant in zip(("from", "to"), PERIOD, strict=True):
        script = "document.forms.question.elements[arguments[0]].value = arguments[1]"
        browser.execute_script(script, name, f"{instant:%Y-%m-%dT%H:%M}")
    browser.find_element(By.CSS_SELECTOR, "#question button").click()


def test_a_stranger_is_asked_for_a_key_and_a_wrong_one_shows_nothing(served: tuple[str, str], browser: Chrome) -> None:
    address, _ = served
    browser.get(address)
    wait_for(browser, "#door")
    browser.find_element(By.NAME, "key").send_keys("pp_live_none_none")
    browser.find_element(By.CSS_SELECTOR, "#door button").click()
    wait_for(browser, "#trouble")
    assert not browser.find_element(By.TAG_NAME, "main").is_displayed()
    assert browser.find_element(By.ID, "door").is_displayed()


def test_a_customer_sees_map_search_times_and_traffic(served: tuple[str, str], browser: Chrome) -> None:
    address, key = served
    browser.get(f"{address}#key={key}")
    wait_for(browser, "main")
    assert browser.current_url == address, "the key must leave the address bar"
    ask_for(browser)
    wait_for(browser, "#map .cell")
    wait_for(browser, "#traffic .entries")
    assert browser.find_elements(By.CSS_SELECTOR, "#map .zone"), "the zone's outline"
    row = browser.find_element(By.CSS_SELECTOR, "#search tbody tr").text
    assert row.startswith("Mall <b>of</b> Asia"), "a name is text, never markup"
    assert "min" in row
    scale = browser.find_element(By.CSS_SELECTOR, "#map text:last-child").text
    Select(browser.find_element(By.ID, "layer")).select_by_value("p50")
    assert browser.find_element(By.CSS_SELECTOR, "#map text:last-child").text == scale, "the map stays where it is"
    wait_for(browser, "#map .cell")
    assert "from" in browser.find_element(By.ID, "legend").text
    complaints = [line["message"] for line in browser.get_log("browser") if "favicon" not in line["message"]]
    assert complaints == []
    if folder := os.environ.get("PARKPAL_TEST_PICTURES"):
        browser.save_screenshot(str(Path(folder) / "dashboard.png"))


def test_a_forgotten_key_is_gone(served: tuple[str, str], browser: Chrome) -> None:
    address, key = served
    browser.get(f"{address}#key={key}")
    wait_for(browser, "main")
    browser.find_element(By.ID, "leave").click()
    wait_for(browser, "#door")
    assert browser.execute_script("return sessionStorage.length") == 0
