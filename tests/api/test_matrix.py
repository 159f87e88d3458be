"""Every route of the OpenAPI document, tried by everybody whom `api.who` does not name for it, and by who it names.

The refused get 401, 403 or 404 and nothing that is not theirs; the others are not refused for who they are. What stands
between a route and its callers is thereby known to be there, and to be no more than the table says.
"""

import re
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from typing import Any, Final
from uuid import uuid4

import httpx
import pytest

from api.api_keys import SCOPES
from api.app import ApiConfig
from api.who import ANYBODY, WHO, Who
from pipeline.lake.lake import Lake
from pipeline.log import EventLog
from tests.api.conftest import Service, serve
from tests.api.matrix_world import ROLES, World, build_world, useless
from tests.api.people.conftest import PASSWORD
from tests.api.samples import sample
from tests.crash.payments import build_config

pytestmark = [pytest.mark.anyio, pytest.mark.postgres]

Record = Any  # pytest's fixture has no public type

KNOWS_BOOKING: Final = {"driver", "host", "attendant", "operator_admin", "support", "platform_admin"}
DRIVERS_ALONE: Final = ("/checkout", "/receipt")
"""What of a booking does not exist for anybody but its driver."""
REVOKED_PHONE: Final = {
    ("post", "/v1/events"): (403, "consent-missing"),
    ("get", "/v1/devices/me"): (404, "not-found"),
    ("put", "/v1/devices/me/consent"): (404, "not-found"),
    ("delete", "/v1/devices/me"): (204, ""),
}
"""A phone's token is its own proof, looked up nowhere: a withdrawn one speaks of a device that is not there."""
PROBLEM: Final = "urn:parkpal:problem:"
REFUSED: Final = {401: (401, "unauthenticated"), 403: (403, "role-missing"), 404: (404, "not-found")}


@dataclass
class Matrix:
    """The document, the world, and how often what was answered."""

    service: Service
    world: World
    document: dict[str, Any]
    useless: dict[str, dict[str, dict[str, str]]]
    counts: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    def routes(self) -> list[tuple[str, str, dict[str, Any]]]:
        """Return method, path and operation of each route that is declared; what ends an account comes last."""
        paths = self.document["paths"].items()
        listed = [(method, path, one) for path, item in paths for method, one in item.items() if (method, path) in WHO]
        return sorted(listed, key=lambda route: (route[1] == "/v1/me/erase", route[1], route[0]))

    async def call(self, route: tuple[str, str, dict[str, Any]], kind: str, headers: dict[str, str]) -> httpx.Response:
        """Call a route with the ids of an estate, and a body that its schema takes."""
        method, path, operation = route
        ids = self._ids(path, kind)
        address = re.sub(r"\{(\w+)\}", lambda name: ids.get(name[1], str(uuid4())), path)
        given = ids | dict.fromkeys(("password", "old_password", "new_password"), PASSWORD)
        given |= {"ends_at": "2031-03-03T13:00:00Z", "month": "2031-04"}
        given |= {"bays": ["B1"]} if "/lots" in path else {}  # type: ignore[dict-item]
        query = {
            one["name"]: {"lat": 14.5, "lon": 121, "from": "2031-03-03T12:00Z", "to": "2031-03-03T13:00Z"}[one["name"]]
            for one in operation.get("parameters", ())
            if one["in"] == "query" and one.get("required")
        }
        body = operation.get("requestBody", {}).get("content", {}).get("application/json")
        headers = headers | {"Idempotency-Key": uuid4().hex}
        json = None if body is None else sample(body["schema"], self.document, given)
        return await self.service.client.request(method, address, headers=headers, params=query, json=json)

    def _ids(self, path: str, kind: str) -> dict[str, str]:
        of = self.world.estates[kind].ids
        booking = "over" if path == "/v1/reviews" else "held" if path.endswith("/approve") else "booking"
        return {
            "operator_id": of["tenant"],
            "place_id": of["lot" if "/lots" in path else "place"],
            "lot_id": of["lot"],
            "space_id": of["place"],
            "block_id": of["block"],
            "booking_id": of[booking],
            "vehicle_id": of["vehicle"],
            "review_id": of["review"],
            "person_id": str(self.world.people["dora"]),
            "role": "attendant",
            "rail": "instapay",
            "provider": "paymongo",
            "key_id": "0123456789abcdef",
        }

    def leaks(self, answer: httpx.Response) -> list[str]:
        """Return what an outsider was told."""
        return [secret for secret in self.world.secrets if secret in answer.text]


@pytest.fixture
async def matrix(config: ApiConfig, event_log: EventLog, lake: Lake) -> AsyncIterator[Matrix]:
    """A service over the world, with room for many tries."""
    limits = ("codes", "tries", "registrations", "holds", "searches")
    config = replace(config, **{f"{limit}_per_minute": 100_000 for limit in limits})
    config = replace(config, payments=build_config("http://127.0.0.1:9"))  # nobody there: no call may come so far
    world = build_world(config.database_url, config.device_token_key)
    schemes = ("accessToken", "apiKey", "deviceToken", "webhookSignature", "signedUrl")
    async with serve(config, event_log, lake) as service:
        bad = {scheme: useless(world, scheme) for scheme in schemes}
        document = (await service.client.get("/schema/openapi.json")).json()
        yield Matrix(service, world, document, bad)


async def test_every_route_says_who_may_call_it(matrix: Matrix) -> None:
    """A route that is in no line of `api.who` fails here, as does a line without its route."""
    paths = matrix.document["paths"].items()
    listed = {(method, path): operation for path, item in paths for method, operation in item.items()}
    assert set(WHO) - {("get", "/v1/photos/{photo_id}")} <= set(listed) <= set(WHO)
    for route, operation in listed.items():
        who = WHO[route]
        shown = [{who.scheme: list(who.any_of)}] if who.scheme else None
        assert operation.get("security") == shown, route
        known = {role for roles in ROLES.values() for role in roles} | {"driver"}
        assert set(who.any_of) <= (set(SCOPES) if who.scheme == "apiKey" else known), route


async def test_who_has_no_good_credentials_gets_401_everywhere(matrix: Matrix, record_property: Record) -> None:
    for route in matrix.routes():
        who = WHO[route[:2]]
        for name, headers in matrix.useless[who.scheme].items() if who.scheme else ():
            answer = await matrix.call(route, "operator", headers)
            known = REVOKED_PHONE.get(route[:2]) if name == "a revoked phone" else None
            _expect(matrix, answer, known or REFUSED[401], f"{name} at {route[0]} {route[1]}")
    _finish(matrix, record_property, "without good credentials")


async def test_a_key_opens_what_its_scopes_say(matrix: Matrix, record_property: Record) -> None:
    for route in matrix.routes():
        who = WHO[route[:2]]
        if who.scheme != "apiKey":
            continue
        others = matrix.world.key(*(scope for scope in SCOPES if scope not in who.any_of))
        answer = await matrix.call(route, "operator", others)
        assert (answer.status_code, answer.json()["type"]) == (403, f"{PROBLEM}insufficient-scope"), route[:2]
        matrix.counts["403"] += 1
        answer = await matrix.call(route, "operator", matrix.world.key(*who.any_of))
        assert answer.status_code not in {401, 403}, route[:2]
        matrix.counts["not refused"] += 1
    _finish(matrix, record_property, "with keys out of and in scope")


async def test_people_see_and_change_what_their_roles_say(matrix: Matrix, record_property: Record) -> None:
    """In every role of the tenant, of another tenant and of the platform, as driver and as stranger."""
    tries = [
        (route, kind, actor, _expected(route[1], WHO[route[:2]], actor, kind))
        for route in matrix.routes()
        if WHO[route[:2]].scheme == "accessToken"
        for kind in _estates(route[1], WHO[route[:2]])
        for actor in _actors(kind, WHO[route[:2]])
    ]
    for route, kind, actor, status in sorted(tries, key=lambda one: one[3] is None):  # refusals leave all as it is
        answer = await matrix.call(route, kind, matrix.world.headers(actor))
        where = f"{actor} at {route[0]} {route[1]} of the {kind}"
        if status is not None:
            _expect(matrix, answer, REFUSED[status], where)
            continue
        matrix.counts["not refused"] += 1
        outsider = actor in {"stranger", "leaver"} or actor.startswith("other ")
        if answer.status_code in {401, 403, 500, 503} or (outsider and matrix.leaks(answer)):
            matrix.wrong.append(f"{where}: {answer.status_code} {answer.text[:200]}")
    _finish(matrix, record_property, "by people in every role")


def _estates(path: str, who: Who) -> list[str]:
    """Return whose ids are tried: a role counts in tenants of its kind alone."""
    if path.startswith("/v1/hosts/me"):
        return ["host"]
    kinds = [kind for kind in ("operator", "host") if set(who.any_of) & {*ROLES[kind], "driver"}]
    return kinds or ["operator"]


def _actors(kind: str, who: Who) -> list[str]:
    if not who.any_of:
        return ["stranger", "leaver"]
    others = [f"other {role}" for role in ROLES[kind]]
    return ["driver", "stranger", *ROLES[kind], *others, *ROLES["platform"]]


def _expected(path: str, who: Who, actor: str, kind: str) -> int | None:
    """Return how somebody is refused, None if they are not."""
    if not who.any_of:
        return 404 if "{vehicle_id}" in path else None
    if path.startswith("/v1/hosts/me"):
        return None if actor == "host" or (actor == "other host" and "{" not in path) else 404
    if actor in who.any_of:
        return None
    if set(who.any_of) <= set(ROLES["platform"]):
        return 403
    if "{operator_id}" in path or "{place_id}" in path:
        return 403 if actor in ROLES[kind] else 404
    return 403 if actor in KNOWS_BOOKING and not path.endswith(DRIVERS_ALONE) else 404


def _expect(matrix: Matrix, answer: httpx.Response, refusal: tuple[int, str], where: str) -> None:
    slug = answer.json()["type"].removeprefix(PROBLEM) if answer.status_code >= 400 else ""
    if (answer.status_code, slug) != refusal or matrix.leaks(answer):
        matrix.wrong.append(f"{where}: {answer.status_code} {answer.text[:200]}, not {refusal}")
    matrix.counts[str(answer.status_code)] += 1


def _finish(matrix: Matrix, record_property: Record, how: str) -> None:
    """Fail with all that was wrong, or leave the counts for the end of the run."""
    assert not matrix.wrong, "\n".join(matrix.wrong)
    counts = ", ".join(f"{what} {count}" for what, count in sorted(matrix.counts.items()))
    record_property("routes", f"{matrix.counts.total()} requests {how}: {counts}")


def test_what_anybody_may_call_is_little() -> None:
    """Whoever adds to it should have to say so here."""
    assert sum(who == ANYBODY for who in WHO.values()) == 11
