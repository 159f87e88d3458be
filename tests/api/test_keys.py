"""Keys, tokens and pseudonyms."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.ingest.pseudonyms import Pseudonyms, key_name, month_of
from api.ingest.remembered import Remembered
from api.ingest.tokens import decode_token, encode_token, new_device_id
from api.keys import KEY_BYTES, KeyFolder, MissingKeyError, write_once
from tests.api.conftest import month_key

KEY = bytes(range(32))


def test_a_key_is_made_once_for_its_owners_eyes(tmp_path: Path) -> None:
    folder = KeyFolder(tmp_path / "keys")
    key = folder.ensure("one")
    assert len(key) == KEY_BYTES
    assert folder.ensure("one") == folder.read("one") == key
    assert (tmp_path / "keys" / "one.key").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in (tmp_path / "keys").iterdir()] == ["one.key"]


def test_whoever_makes_a_key_at_the_same_moment_gets_the_same_one(tmp_path: Path) -> None:
    folder = KeyFolder(tmp_path)
    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(lambda _: folder.ensure("race"), range(64)))) == 1


def test_a_missing_key_says_how_to_make_it(tmp_path: Path) -> None:
    with pytest.raises(MissingKeyError, match=r"one\.key is missing; make it once"):
        KeyFolder(tmp_path).read("one")


def test_a_truncated_key_is_refused_and_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "one.key").write_bytes(b"short")
    with pytest.raises(MissingKeyError, match="5 bytes"):
        KeyFolder(tmp_path).ensure("one")


def test_a_file_that_exists_is_left_alone(tmp_path: Path) -> None:
    write_once(tmp_path / "f", b"first")
    write_once(tmp_path / "f", b"second")
    assert (tmp_path / "f").read_bytes() == b"first"


def test_a_token_is_good_for_its_device_and_key_alone() -> None:
    device_id = new_device_id()
    token = encode_token(KEY, device_id)
    assert decode_token(KEY, token) == device_id
    assert decode_token(bytes(32), token) is None
    assert decode_token(KEY, token.replace(device_id, new_device_id())) is None


@given(st.text(max_size=120))
def test_no_text_is_a_token_by_chance(text: str) -> None:
    assert decode_token(KEY, text) is None
    assert decode_token(KEY, f"pd_{text}") is None


def test_a_pseudonym_is_stable_in_a_month_and_new_in_the_next() -> None:
    pseudonyms = Pseudonyms(month_key)
    november = pseudonyms.pseudonym("d1", "2026-11")
    assert november == Pseudonyms(month_key).pseudonym("d1", "2026-11")
    assert november != pseudonyms.pseudonym("d1", "2026-12")
    assert november != pseudonyms.pseudonym("d2", "2026-11")
    assert len(november) == 32


def test_a_month_is_the_utc_month_of_the_event() -> None:
    assert month_of(1_793_491_199_999) == "2026-10"
    assert month_of(1_793_491_200_000) == "2026-11"
    assert key_name("2026-11") == "pseudonym-2026-11"


def test_remembered_events_are_forgotten_from_the_oldest() -> None:
    """At least `size` and less than twice `size` events more are remembered, and never by seq alone."""
    remembered = Remembered(size=10)
    for seq in range(100):
        remembered.add("d", [(seq, b"%d" % seq)])
    assert remembered.has("d", 99, b"99")
    assert remembered.has("d", 90, b"90")
    assert not remembered.has("d", 70, b"70")
    assert not remembered.has("d", 99, b"other")
    assert not remembered.has("e", 99, b"99")
