"""Phones go on until the server has everything, and never send again what it has acknowledged."""

import asyncio
import gzip
import json
from collections import Counter
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from parkpal.demo.bodies import Body, PhoneLoad
from parkpal.demo.journal import Journal
from parkpal.demo.push import ACCEPTED, REFUSED, Phones, PushError


class Server:
    """A server that takes batches, and is busy at every `busy_every`-th request."""

    def __init__(self, busy_every: int = 0) -> None:
        self.requests: Counter[str] = Counter()
        self.seqs: list[tuple[str, int]] = []
        self.busy_every = busy_every

    def answer(self, request: httpx.Request) -> httpx.Response:
        self.requests[request.url.path] += 1
        if self.busy_every and self.requests.total() % self.busy_every == 0:
            return httpx.Response(503, headers={"retry-after": "0"})
        if request.url.path == "/v1/devices":
            return httpx.Response(201, json={"device_id": "d", "token": f"t{self.requests.total()}"})
        try:
            batch = json.loads(gzip.decompress(request.content))
        except EOFError:
            return httpx.Response(400)
        self.seqs += [(request.headers["authorization"], event["seq"]) for event in batch["events"]]
        return httpx.Response(202, json={"accepted": len(batch["events"]), "duplicates": 0, "rejected": []})


def load(name: str, *bodies: Body) -> PhoneLoad:
    return PhoneLoad(name, 0, list(bodies))


def body(*seqs: int, times: int = 1, torn: bool = False) -> Body:
    return Body([{"seq": seq} for seq in seqs], times, torn)


def push(server: Server, journal_path: Path, *loads: PhoneLoad) -> Counter[str]:
    async def run() -> Counter[str]:
        transport = httpx.MockTransport(server.answer)
        with closing(Journal(journal_path)) as journal:
            async with httpx.AsyncClient(transport=transport, base_url="http://parkpal") as client:
                phones = Phones(client, journal, lambda: None)
                await phones.push(list(loads))
                return phones.tally

    return asyncio.run(run())


def test_bodies_arrive_in_order_the_torn_ones_whole_and_the_doubled_ones_twice(tmp_path: Path) -> None:
    server = Server()
    tally = push(server, tmp_path / "j", load("a", body(0, 1), body(2, torn=True), body(3, times=2)))
    assert [seq for _, seq in server.seqs] == [0, 1, 2, 3, 3]
    assert tally == Counter({ACCEPTED: 5, REFUSED: 1})


def test_a_busy_server_is_asked_again(tmp_path: Path) -> None:
    server = Server(busy_every=2)
    push(server, tmp_path / "j", load("a", body(0), body(1), body(2)), load("b", body(0), body(1)))
    assert Counter(seq for _, seq in server.seqs) == {0: 2, 1: 2, 2: 1}


def test_a_second_run_sends_only_what_is_missing_with_the_same_token(tmp_path: Path) -> None:
    server = Server()
    push(server, tmp_path / "j", load("a", body(0), body(1)))
    push(server, tmp_path / "j", load("a", body(0), body(1), body(2)), load("b", body(7)))
    assert [seq for _, seq in server.seqs] == [0, 1, 2, 7]
    assert len({token for token, seq in server.seqs if seq < 3}) == 1
    assert server.requests["/v1/devices"] == 2


def test_a_refusal_ends_the_push_with_the_server_s_words(tmp_path: Path) -> None:
    def refuse(_: httpx.Request) -> httpx.Response:
        return httpx.Response(403, text="no consent")

    server = Server()
    server.answer = refuse  # type: ignore[method-assign]  # another server, of one answer
    with pytest.raises(PushError, match="403: no consent"):
        push(server, tmp_path / "j", load("a", body(0)))
