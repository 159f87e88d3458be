"""A driver's day, a host's and a mall's, over HTTP; and that what is somebody else's does not exist."""

from datetime import timedelta

import pytest

from tests.api.bookings.person import ANA, BEN, CAR, DRIVEWAY, FREE, Person, mall, quarter
from tests.api.people.conftest import PASSWORD, Town

pytestmark = [pytest.mark.anyio, pytest.mark.postgres]


async def test_a_drivers_day(town: Town, ana: Person, ben: Person) -> None:
    """Search, quote, hold, confirm, see how to get in, check in by code, extend, check out, review."""
    place = await ben.post("/v1/hosts/me/spaces", DRIVEWAY, 201)
    start = quarter(0.25)
    window = {"from": start.isoformat(), "to": (start + timedelta(hours=2)).isoformat()}
    near = {"lat": 14.55, "lon": 121.03, "radius_m": 500, **window}
    (found,) = await ana.get("/v1/search", **near, amenities="covered", height_cm=200)
    assert found["place"]["place_id"] == place["place_id"]
    assert found["expected_search"] == {"p50_s": None, "reason": "the statistics cannot be read now"}
    assert "4711" not in str(found)
    assert "Mabini" not in str(found)
    assert (found["place"]["lat"], found["place"]["lon"]) != (DRIVEWAY["lat"], DRIVEWAY["lon"])
    held = await ana.hold(place["place_id"], start)
    assert (held["status"], held["place"]["access_note"], held["place"]["exact"]) == ("HELD", None, False)
    assert await ana.get("/v1/search", **near) == []
    path = f"/v1/bookings/{held['booking_id']}"
    reserved = await ana.post(f"{path}/confirm")
    assert (reserved["status"], reserved["place"]["access_note"]) == ("RESERVED", "gate code 4711")
    assert "Driveway" in await town.letter(ANA, 2)
    code = (await ana.get(f"{path}/code", action="check-in"))["code"]
    assert (await ben.post(f"{path}/check-in", {"code": code}))["status"] == "ACTIVE"
    longer = await ana.post(f"{path}/extend", {"ends_at": (start + timedelta(hours=3)).isoformat()}, 201)
    assert (longer["status"], longer["extends"]) == ("RESERVED", held["booking_id"])
    assert (await ana.get(path))["stay_ends_at"] == longer["ends_at"]
    assert (await ana.post(f"{path}/check-out", {}))["status"] == "FULFILLED"
    history = await ana.get(f"{path}/history")
    assert [line["to_status"] for line in history if line["from_status"] != line["to_status"]] == [
        *("HELD", "RESERVED", "ACTIVE", "FULFILLED")
    ]
    review = {"booking_id": held["booking_id"], "stars": 5, "text": "Easy"}
    assert (await ana.post("/v1/reviews", review, 201))["author"] == "driver"
    assert (await ben.post("/v1/reviews", review, 201))["author"] == "host"
    assert await ana.refused("/v1/reviews", review) == "review-exists"
    assert (await ben.get(f"/v1/spaces/{place['place_id']}"))["stars"] == 5
    assert [one["status"] for one in await ana.get("/v1/bookings")] == ["FULFILLED", "FULFILLED"]


async def test_a_repeated_request_is_answered_alike_and_happens_once(ana: Person, ben: Person) -> None:
    place = await ben.post("/v1/hosts/me/spaces", DRIVEWAY, 201)
    start = quarter(1)
    window = {"starts_at": start.isoformat(), "ends_at": (start + timedelta(hours=2)).isoformat()}
    quote = await ana.post("/v1/quotes", {"place_id": place["place_id"], **window})
    body = {"quote": quote["quote"], "vehicle": CAR}
    answers = [await ana.send("POST", "/v1/bookings", body, "key") for _ in range(2)]
    assert [answer.status_code for answer in answers] == [201, 201]
    assert answers[0].json() == answers[1].json()
    taken = [await ana.send("POST", "/v1/bookings", body, "other") for _ in range(2)]
    assert [answer.json()["type"].rpartition(":")[2] for answer in taken] == ["place-taken"] * 2
    assert taken[0].json()["facts"] == taken[1].json()["facts"] == {"other_places": []}
    other_body = await ana.send("POST", "/v1/bookings", body | {"vehicle": {"plate": "XYZ99"}}, "key")
    assert other_body.json()["type"].endswith("key-reused")
    without = await ana.client.post("/v1/bookings", headers=ana.headers, json=body)
    assert without.json()["type"].endswith("invalid-request")


async def test_a_quote_is_good_for_its_driver_and_as_it_was_signed(ana: Person, ben: Person) -> None:
    place = await ben.post("/v1/hosts/me/spaces", DRIVEWAY, 201)
    start = quarter(1)
    window = {"starts_at": start.isoformat(), "ends_at": (start + timedelta(hours=2)).isoformat()}
    quote = (await ana.post("/v1/quotes", {"place_id": place["place_id"], **window}))["quote"]
    for person, text in ((ben, quote), (ana, quote[:-2] + "AA"), (ana, "nonsense")):
        assert await person.refused("/v1/bookings", {"quote": text, "vehicle": CAR}) == "invalid-quote"
    van = {"quote": quote, "vehicle": {"plate": "VAN1", "kind": "van"}}
    assert await ana.refused("/v1/bookings", van) == "invalid-quote"


async def test_a_code_opens_one_action_of_one_booking_once(ana: Person, ben: Person) -> None:
    place = await ben.post("/v1/hosts/me/spaces", DRIVEWAY, 201)
    first, second = await ana.hold(place["place_id"], quarter(0.25)), await ana.hold(place["place_id"], quarter(4))
    paths = [f"/v1/bookings/{one['booking_id']}" for one in (first, second)]
    for path in paths:
        await ana.post(f"{path}/confirm")
    code = (await ana.get(f"{paths[0]}/code"))["code"]
    assert await ben.refused(f"{paths[1]}/check-in", {"code": code}) == "wrong-token"
    assert await ben.refused(f"{paths[0]}/check-out", {"code": code}) == "wrong-token"
    assert (await ben.post(f"{paths[0]}/check-in", {"code": code}))["status"] == "ACTIVE"
    assert await ben.refused(f"{paths[0]}/check-in", {"code": code}) == "wrong-token"


async def test_a_change_that_strands_bookings_is_refused_with_their_list(ana: Person, ben: Person) -> None:
    place = await ben.post("/v1/hosts/me/spaces", DRIVEWAY, 201)
    start = quarter(24)
    held = await ana.hold(place["place_id"], start)
    path = f"/v1/hosts/me/spaces/{place['place_id']}"
    local = start + timedelta(hours=8)
    other_day = {"weekday": local.isoweekday() % 7 + 1, "opens_min": 0, "closes_min": 60}
    refused = await ben.send("PUT", path, DRIVEWAY | {"hours": [other_day]})
    assert refused.json()["facts"] == {"bookings": [held["booking_id"]]}
    block = {"place_id": place["place_id"], "starts_at": start.isoformat()}
    block["ends_at"] = (start + timedelta(minutes=5)).isoformat()
    assert await ben.refused("/v1/hosts/me/blocks", block) == "stranded-bookings"
    await ana.post(f"/v1/bookings/{held['booking_id']}/cancel", {})
    made = await ben.post("/v1/hosts/me/blocks", block, 201)
    assert [one["block_id"] for one in await ben.get("/v1/hosts/me/blocks")] == [made["block_id"]]
    window = {"starts_at": start.isoformat(), "ends_at": (start + timedelta(hours=2)).isoformat()}
    quote = await ana.post("/v1/quotes", {"place_id": place["place_id"], **window})
    assert await ana.refused("/v1/bookings", {"quote": quote["quote"], "vehicle": CAR}) == "place-closed"
    assert (await ben.send("DELETE", f"/v1/hosts/me/blocks/{made['block_id']}")).status_code == 204
    changed = (await ben.send("PUT", path, DRIVEWAY | {"name": "Garage", "hours": [other_day]})).json()
    assert (changed["text"]["name"], changed["text"]["hours"]) == ("Garage", [other_day])


async def test_a_mall_has_lots_attendants_and_validation(town: Town, ana: Person, ben: Person) -> None:
    """Motorists walk in by scanning a space; an attendant finds them by plate; a shop's stamp makes it free."""
    cora, path = await mall(town)
    lot = DRIVEWAY | {"name": "Level 2", "bays": ["A1", "A2"]}
    made = await cora.post(f"{path}/lots", lot, 201)
    assert (made["shown_lat"], made["kind"]) == (DRIVEWAY["lat"], "lot")
    assert await cora.refused(f"{path}/lots", DRIVEWAY) == "invalid-request"
    steep = FREE | {"rates": [{"rate": 100, "end_duration": 1}, {"rate": 900, "start_duration": 1}]}
    assert await cora.refused(f"{path}/lots", lot | {"tariff": steep}) == "invalid-tariff"
    assert (await cora.send("PUT", f"{path}/attendants", {"contact": BEN})).status_code == 204
    assert [one["name"] for one in await cora.get(f"{path}/attendants")] == ["Ben"]
    walk_up = {"space_id": made["place_id"], "ends_at": quarter(3).isoformat(), "vehicle": CAR}
    stay = await ana.post("/v1/walk-ups", walk_up, 201)
    assert (stay["status"], stay["pay_later"], stay["place"]["bay"]) == ("ACTIVE", True, "A1")
    (found,) = await ben.get(f"{path}/bookings", plate="ABC1234")
    assert found["driver_name"] == "Ana"
    await ben.post(f"{path}/validation", {"booking_id": stay["booking_id"]})
    assert (await ben.post(f"/v1/bookings/{stay['booking_id']}/check-out", {}))["status"] == "FULFILLED"
    await ana.hold(made["place_id"], quarter(5))
    smaller = await cora.send("PUT", f"{path}/lots/{made['place_id']}", lot | {"bays": ["A1"]})
    assert smaller.status_code == 200
    whole = {"place_id": made["place_id"], "starts_at": quarter(5).isoformat(), "ends_at": quarter(6).isoformat()}
    assert await cora.refused(f"{path}/blocks", whole) == "stranded-bookings"
    suggestion = await ben.get("/v1/hosts/me/suggested-price", lat=14.55, lon=121.03)
    assert suggestion["reason"] == "fewer than 3 places within 2 km"


async def test_a_host_answers_cancels_with_a_reason_and_sees_the_guest_around_the_stay(
    town: Town, ana: Person, ben: Person
) -> None:
    place = await ben.post("/v1/hosts/me/spaces", DRIVEWAY | {"by_approval": True}, 201)
    held = await ana.hold(place["place_id"], quarter(48))
    path = f"/v1/bookings/{held['booking_id']}"
    assert await ana.refused(f"{path}/confirm") == "wrong-state"
    assert await ana.refused(f"{path}/approve") == "role-missing"
    assert (await ben.post(f"{path}/approve"))["approval"] == "given"
    await ana.post(f"{path}/confirm")
    until = quarter(72).isoformat()
    (guest,) = await ben.get("/v1/hosts/me/bookings", to=until)
    assert (guest["driver_name"], guest["plate"]) == (None, None)
    terms = await ben.get(f"{path}/cancel")
    assert (terms["by"], terms["refund_minor"]) == ("host", 0)
    assert await ben.refused(f"{path}/cancel", {}) == "invalid-request"
    assert (await ben.post(f"{path}/cancel", {"reason": "flooded"}))["reason"] == "canceled by host: flooded"
    assert "flooded" in await town.letter(ANA, 4)


async def test_who_finds_the_space_taken_is_moved(ana: Person, ben: Person) -> None:
    first = await ben.post("/v1/hosts/me/spaces", DRIVEWAY, 201)
    second = await ben.post("/v1/hosts/me/spaces", DRIVEWAY | {"name": "Garage", "lat": 14.551}, 201)
    held = await ana.hold(first["place_id"], quarter(0.25))
    path = f"/v1/bookings/{held['booking_id']}"
    await ana.post(f"{path}/confirm")
    moved = await ana.post(f"{path}/report", {"kind": "occupied", "note": "a blue car"})
    (told,) = await ben.get(f"{path}/reports")
    assert (told["kind"], told["note"], told["outcome"]) == ("occupied", "a blue car", "moved")
    assert (moved["status"], moved["place"]["place_id"]) == ("RESERVED", second["place_id"])


async def test_what_is_somebody_elses_does_not_exist(town: Town, ana: Person, ben: Person) -> None:
    place = await ben.post("/v1/hosts/me/spaces", DRIVEWAY, 201)
    cora, mall_path = await mall(town)
    held = await ana.hold(place["place_id"], quarter(2))
    dan = Person(town, await town.headers("dan@example.ph"))
    path = f"/v1/bookings/{held['booking_id']}"
    bodies = {"cancel": {}, "extend": {"ends_at": quarter(9).isoformat()}, "check-in": {}, "check-out": {}}
    bodies["report"] = {"kind": "other"}
    for action in ("confirm", "approve", *bodies):
        assert await dan.refused(f"{path}/{action}", bodies.get(action)) == "not-found"
    for address in (path, f"{path}/history", f"{path}/code"):
        assert (await dan.send("GET", address)).status_code == 404
    for method, address, body in (
        ("GET", f"{mall_path}/lots", None),
        ("POST", f"{mall_path}/lots", DRIVEWAY | {"bays": ["A1"]}),
        ("GET", f"{mall_path}/bookings", None),
        ("POST", f"{mall_path}/validation", {"booking_id": held["booking_id"]}),
        ("GET", f"{mall_path}/attendants", None),
        ("GET", "/v1/hosts/me/spaces", None),
        ("PUT", f"/v1/hosts/me/spaces/{place['place_id']}", DRIVEWAY),
        ("POST", "/v1/reviews", {"booking_id": held["booking_id"], "stars": 1}),
    ):
        assert (await dan.send(method, address, body)).status_code == 404, address
    assert await dan.get("/v1/bookings") == []
    assert (await cora.send("PUT", f"{mall_path}/spaces/{place['place_id']}", DRIVEWAY)).status_code == 404
    assert (await ben.get(path))["booking_id"] == held["booking_id"]


async def test_an_account_takes_its_bookings_along_and_is_not_erased_while_one_goes_on(
    ana: Person, ben: Person
) -> None:
    place = await ben.post("/v1/hosts/me/spaces", DRIVEWAY, 201)
    held = await ana.hold(place["place_id"], quarter(2))
    (record,) = (await ana.get("/v1/me/export"))["bookings"]
    assert (record["place"], record["plate"], record["status"]) == ("Driveway", "ABC1234", "HELD")
    refused = await ana.send("POST", "/v1/me/erase", {"password": PASSWORD})
    assert refused.json()["facts"] == {"bookings": [held["booking_id"]]}
    await ana.post(f"/v1/bookings/{held['booking_id']}/cancel", {})
    assert (await ana.send("POST", "/v1/me/erase", {"password": PASSWORD})).status_code == 204
    seen = await ben.get("/v1/hosts/me/bookings", to=quarter(9).isoformat())
    assert [(one["plate"], one["driver_name"]) for one in seen] == [("", "")]


async def test_a_late_driver_says_when_and_learns_until_when_the_place_is_kept(
    town: Town, ana: Person, ben: Person
) -> None:
    place = await ben.post("/v1/hosts/me/spaces", DRIVEWAY, 201)
    start = quarter(1)
    path = f"/v1/bookings/{(await ana.hold(place['place_id'], start))['booking_id']}"
    comes = (start + timedelta(minutes=50)).isoformat()
    assert await ana.refused(f"{path}/late", {"arrives_at": comes}) == "wrong-state"
    await ana.post(f"{path}/confirm")
    assert await ben.refused(f"{path}/late", {"arrives_at": comes}) == "role-missing"
    late = await ana.post(f"{path}/late", {"arrives_at": comes})
    assert late["arrives_at"] == comes.replace("+00:00", "Z")
    assert (await ben.get(path))["arrives_at"] == late["arrives_at"]
    assert "ABC1234" in await town.letter(BEN, 3)
    for wrong in (start + timedelta(hours=2), start - timedelta(minutes=1)):
        refused = await ana.send("POST", f"{path}/late", {"arrives_at": wrong.isoformat()})
        assert refused.json()["facts"]["kept_until"] == (start + timedelta(hours=2)).isoformat()


async def test_the_booth_of_a_mall_counts_and_closes_over_http(town: Town, ana: Person, ben: Person) -> None:
    cora, path = await mall(town)
    lot = (await cora.post(f"{path}/lots", DRIVEWAY | {"name": "Level 2", "bays": ["A1", "A2"]}, 201))["place_id"]
    await cora.send("PUT", f"{path}/attendants", {"contact": BEN})
    walk_up = {"space_id": lot, "ends_at": quarter(3).isoformat(), "vehicle": CAR}
    stay = (await ana.post("/v1/walk-ups", walk_up, 201))["booking_id"]
    counted = await ben.post(f"{path}/lots/{lot}/counts", {"entered": 2, "standing": 2}, 201)
    assert (counted["standing"], counted["checked_in"], counted["capacity"]) == (2, 1, 2)
    assert (await ben.get(f"{path}/lots/{lot}/occupancy"))["standing"] == 2
    day = await ben.get(f"{path}/lots/{lot}/day")
    assert (day["entered"], day["walk_ups"], day["entered_without_booking"]) == (2, 1, 1)
    assert (await ben.get(f"{path}/cash/{stay}"))["due_minor"] == 0
    assert await ben.refused(f"{path}/cash", {"booking_id": stay, "amount_minor": 100}) == "wrong-state"
    close, drawer = f"{path}/lots/{lot}/days", {"day": day["day"], "counted_minor": 0, "note": "quiet"}
    assert (await ben.post(close, drawer, 201))["note"] == "quiet"
    assert await ben.refused(close, drawer) == "day-closed"
    assert [one["day"] for one in await cora.get(f"{path}/lots/{lot}/days")] == [day["day"]]
    assert await ana.refused(f"{path}/lots/{lot}/counts", {"entered": 1}) == "not-found"
