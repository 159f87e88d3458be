"""The sheet of QR codes, and what its codes and the letters' links lead to."""

import re
from datetime import timedelta
from uuid import UUID, uuid4

import pytest

from api.spaces.sheet import MOST, Card, render_sheet
from tests.api.bookings.conftest import NOON, Desk, Ground
from tests.api.bookings.person import BEN, CAR, DRIVEWAY, Person, mall, quarter
from tests.api.people.conftest import Town

SITE = "http://parkpal.test"


def links(sheet: str) -> list[str]:
    return re.findall(r"<small>(.*?)</small>", sheet)


def test_what_people_named_their_places_is_text_on_the_sheet() -> None:
    nasty = "<script>alert('x')</script>\"&{title}"
    sheet = render_sheet(nasty, [Card(uuid4(), None), Card(uuid4(), nasty)], f"{SITE}/")
    assert "<script" not in sheet
    assert sheet.count("&lt;script&gt;alert(&#x27;x&#x27;)&lt;/script&gt;&quot;&amp;{title}") == 4
    assert sheet.count("<svg") == 2


@pytest.mark.anyio
@pytest.mark.postgres
async def test_a_lots_sheet_has_a_code_for_each_space_that_leads_to_it(town: Town, ana: Person, ben: Person) -> None:
    """A hundred to a sheet; those who work there print it, nobody else."""
    cora, path = await mall(town)
    bays = [f"A{number:03}" for number in range(MOST + 2)]
    lot = (await cora.post(f"{path}/lots", DRIVEWAY | {"name": "Level <2>", "bays": bays}, 201))["place_id"]
    sheet = await cora.send("GET", f"{path}/lots/{lot}/sheet")
    assert (sheet.status_code, sheet.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert "Level &lt;2&gt;" in sheet.text
    codes = links(sheet.text)
    assert codes[0] == f"{SITE}/p/{lot}"
    assert len(set(codes)) == len(codes) == MOST + 1
    rest = await cora.send("GET", f"{path}/lots/{lot}/sheet?after={bays[MOST - 1]}")
    assert re.findall(r"<strong>(.*?)</strong>", rest.text) == bays[MOST:]
    assert (await ana.send("GET", f"{path}/lots/{lot}/sheet")).status_code == 404
    assert (await cora.send("GET", f"{path}/lots/{uuid4()}/sheet")).status_code == 404
    await cora.send("PUT", f"{path}/attendants", {"contact": BEN})
    assert (await ben.send("GET", f"{path}/lots/{lot}/sheet")).status_code == 200
    page = await town.client.get(codes[1].removeprefix(SITE))
    assert (page.status_code, "script-src 'self'" in page.headers["content-security-policy"]) == (200, True)
    space_id = codes[1].rpartition("/")[2]
    printed = await ana.get(f"/v1/walk-ups/{space_id}")
    assert (printed["name"], printed["bay"], printed["place_id"]) == ("Level <2>", bays[0], lot)
    assert (await town.client.get(f"/v1/walk-ups/{space_id}")).status_code == 401
    walk_up = {"space_id": space_id, "ends_at": quarter(2).isoformat(), "vehicle": CAR}
    assert (await ana.post("/v1/walk-ups", walk_up, 201))["place"]["bay"] == bays[0]


@pytest.mark.anyio
@pytest.mark.postgres
async def test_a_host_prints_a_driveways_code_which_tells_no_address(ana: Person, ben: Person) -> None:
    place = (await ben.post("/v1/hosts/me/spaces", DRIVEWAY, 201))["place_id"]
    sheet = await ben.send("GET", f"/v1/hosts/me/spaces/{place}/sheet")
    assert links(sheet.text) == [f"{SITE}/p/{place}"]
    printed = await ana.get(f"/v1/walk-ups/{place}")
    assert printed == {
        "space_id": place,
        "place_id": place,
        "kind": "space",
        "name": "Driveway",
        "bay": None,
        "photo": None,
    }
    assert (await ana.send("GET", f"/v1/walk-ups/{UUID(int=1)}")).status_code == 404


@pytest.mark.anyio
@pytest.mark.postgres
async def test_the_reminder_leads_to_where_one_tap_extends(desk: Desk, ground: Ground, town: Town) -> None:
    """The link names the booking; opening it changes nothing."""
    ground.run("UPDATE people SET email = 'dan@example.ph'")
    booking_id = ground.add_booking(NOON, status="ACTIVE", hold_expires_at=None, total_minor=0, checked_in_at=NOON)
    desk.now = NOON + timedelta(hours=1, minutes=50)
    await desk.tick()
    letter = await town.letter("dan@example.ph")
    (link,) = re.findall(r"http\S+", letter)
    assert link == f"{SITE}/b/{booking_id}/extend"
    assert (await town.client.get(link.removeprefix(SITE))).status_code == 200
    assert ground.run("SELECT count(*) FROM bookings") == [(1,)]
