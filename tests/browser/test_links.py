"""Printed codes and letters' links in a real browser: read from the sheet as a phone reads them, then followed."""

import base64
import re
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
import zxingcpp
from PIL import Image
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By

from api.analytics.reader import LakeReader
from api.app import ApiConfig, build_app
from parkpal.ingest_log import LogWriter
from parkpal.live_log import LiveTail
from pipeline.lake.lake import Lake
from pipeline.log import EventLog
from tests.api.bookings.person import DRIVEWAY
from tests.api.conftest import config, database_url, event_log, lake, server_folder, template_url  # noqa: F401  fixtures
from tests.api.people.conftest import PASSWORD
from tests.browser.serving import serving, wait_for

pytestmark = pytest.mark.postgres


@pytest.fixture
def site(config: ApiConfig, event_log: EventLog, lake: Lake) -> Iterator[str]:  # noqa: F811
    """Serve the API; give its address."""

    def build(address: str) -> Any:
        here = replace(config, public_url=address, secure_cookie=False)
        return build_app(here, LogWriter(event_log), LakeReader(str(lake.root)), LiveTail(event_log))

    with serving(build) as address:
        yield address


class Account:
    """Somebody who signed up."""

    def __init__(self, site: str, contact: str, letters: Path) -> None:
        self.site, self.headers = site, {"Idempotency-Key": "sign-up"}
        self.post("/v1/auth/sign-up", {"contact": contact, "password": PASSWORD, "name": "Ana"})
        token = self.post("/v1/auth/confirm", {"contact": contact, "code": _code(contact, letters)})["access_token"]
        self.headers["Authorization"] = f"Bearer {token}"

    def post(self, path: str, body: Any) -> Any:
        return self._ask("POST", path, body).json()

    def get(self, path: str) -> httpx.Response:
        return self._ask("GET", path, None)

    def _ask(self, method: str, path: str, body: Any) -> httpx.Response:
        answer = httpx.request(method, f"{self.site}{path}", json=body, headers=self.headers)
        assert answer.is_success, answer.text
        return answer


def _code(contact: str, letters: Path) -> str:
    while True:
        for letter in letters.glob("*.txt"):
            text = letter.read_text()
            if f"To: {contact}\n" in text:
                return str(re.findall(r"\b\d{8}\b", text)[0])
        time.sleep(0.05)


def sign_in(browser: Chrome, contact: str) -> None:
    wait_for(browser, "#door")
    for name, value in (("contact", contact), ("password", PASSWORD)):
        browser.find_element(By.NAME, name).send_keys(value)
    browser.find_element(By.CSS_SELECTOR, "#door button").click()


def test_a_printed_code_is_read_and_leads_to_a_stay_and_a_letters_link_to_a_longer_one(
    site: str, browser: Chrome, tmp_path: Path
) -> None:
    ben = Account(site, "ben@example.ph", tmp_path / "outbox")
    Account(site, "ana@example.ph", tmp_path / "outbox")
    place = ben.post("/v1/hosts/me/spaces", DRIVEWAY | {"name": "Driveway <b>1</b>"})["place_id"]
    sheet = tmp_path / "sheet.html"
    sheet.write_bytes(ben.get(f"/v1/hosts/me/spaces/{place}/sheet").content)
    browser.get(f"file://{sheet}")
    (code,) = zxingcpp.read_barcodes(Image.open(BytesIO(browser.get_screenshot_as_png())))
    assert code.text == f"{site}/p/{place}"

    browser.get(code.text)
    sign_in(browser, "ana@example.ph")
    wait_for(browser, "#walk-up")
    assert browser.find_element(By.ID, "space").text == "Driveway <b>1</b>", "a name is text, never markup"
    browser.find_element(By.NAME, "plate").send_keys("abc 1234")
    browser.find_element(By.CSS_SELECTOR, "#arrival button").click()
    wait_for(browser, "#done")
    (stay,) = ben.get("/v1/hosts/me/bookings").json()
    assert (stay["status"], stay["plate"]) == ("ACTIVE", "ABC1234")

    browser.get(f"{site}/b/{stay['booking_id']}/extend")
    wait_for(browser, "#extension")  # the cookie of the sign-in opens it
    browser.find_element(By.CSS_SELECTOR, "#extension button").click()
    wait_for(browser, "#done")
    after = ben.get(f"/v1/bookings/{stay['booking_id']}").json()
    longer = datetime.fromisoformat(after["stay_ends_at"]) - datetime.fromisoformat(stay["stay_ends_at"])
    assert longer == timedelta(hours=1)
    assert datetime.fromisoformat(after["stay_ends_at"]) > datetime.now(UTC)
    complaints = [line["message"] for line in browser.get_log("browser") if "401" not in line["message"]]
    assert [one for one in complaints if "favicon" not in one] == []


def test_the_sheet_of_a_lot_fits_a4_and_every_code_on_it_is_read(browser: Chrome, tmp_path: Path) -> None:
    """Eight to a page, none cut in two by its end."""
    from api.spaces.sheet import Card, render_sheet  # noqa: PLC0415

    cards = [Card(uuid4(), f"Space {number}") for number in range(12)]
    sheet = tmp_path / "sheet.html"
    sheet.write_text(render_sheet("Level 2", cards, "https://parkpal.example"), "utf-8")
    browser.get(f"file://{sheet}")
    found = zxingcpp.read_barcodes(Image.open(BytesIO(browser.get_screenshot_as_png())))
    assert {code.text for code in found} == {f"https://parkpal.example/p/{card.space_id}" for card in cards}
    printed = browser.execute_cdp_cmd("Page.printToPDF", {"preferCSSPageSize": True})
    pdf = base64.b64decode(printed["data"])
    assert len(re.findall(rb"/Type\s*/Page\b(?!s)", pdf)) == 2
    (box,) = set(re.findall(rb"/MediaBox\s*\[([^\]]*)\]", pdf))
    assert [round(float(one)) for one in box.split()] in ([0, 0, 595, 842], [0, 0, 596, 842], [0, 0, 595, 841])
