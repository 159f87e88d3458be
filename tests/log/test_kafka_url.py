"""A Kafka log's URL and its properties file: what they may say, and that nothing else is taken."""

from pathlib import Path

import pytest

from pipeline.log.kafka.settings import PRODUCER, read_place, read_properties
from pipeline.log.open import open_log


@pytest.mark.parametrize(
    ("url", "servers", "prefix"),
    [
        ("kafka://localhost:9092", "localhost:9092", "parkpal."),
        ("kafka://localhost:9092/", "localhost:9092", "parkpal."),
        ("kafka://a.example:9092,b.example:9093/manila-", "a.example:9092,b.example:9093", "manila-"),
        ("kafka://[::1]:9092/x", "[::1]:9092", "x"),
    ],
)
def test_a_url_names_brokers_and_a_prefix(url: str, servers: str, prefix: str) -> None:
    place = read_place(url)
    assert (place.servers, place.prefix, place.client["bootstrap.servers"]) == (servers, prefix, servers)


@pytest.mark.parametrize(
    "url",
    [
        "kafka://",
        "kafka://broker",
        "kafka:///positions",
        "kafka://user:secret@broker:9092/",
        "kafka://a:9092,/",
        "kafka://a:9092/a/b",
        "kafka://a:9092/a b",
        "kafka://a:9092/?acks=1",
        "kafka://a:9092/?config=/none&x=1",
    ],
)
def test_a_url_that_says_anything_else_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="want kafka://"):
        open_log(url)


def write(path: Path, text: str, mode: int = 0o600) -> Path:
    path.write_text(text)
    path.chmod(mode)
    return path


def test_a_properties_file_is_passed_through(tmp_path: Path) -> None:
    path = write(tmp_path / "p", "# how we sign in\n\nsecurity.protocol = SASL_SSL\nsasl.password=a=b c\n")
    assert read_properties(path) == {"security.protocol": "SASL_SSL", "sasl.password": "a=b c"}
    place = read_place(f"kafka://a:9092/?config={path}")
    assert place.client["sasl.password"] == "a=b c"


@pytest.mark.parametrize(
    ("text", "mode", "reason"),
    [
        ("sasl.password=x", 0o640, "mode 0640.*chmod 600"),
        ("sasl.password=x", 0o604, "mode 0604.*chmod 600"),
        ("sasl.password", 0o600, "line 1: want name=value"),
        ("\n=x", 0o600, "line 2: want name=value"),
        *(
            (f"{name}=x", 0o600, f"line 1: {name} is not one of")
            for name in ("acks", "request.required.acks", "a.ssl.x")
        ),
    ],
)
def test_a_properties_file_that_is_open_or_says_too_much_is_refused(
    text: str, mode: int, reason: str, tmp_path: Path
) -> None:
    path = write(tmp_path / "p", text, mode)
    with pytest.raises(ValueError, match=reason):
        read_place(f"kafka://a:9092/?config={path}")


def test_a_properties_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="No such file"):
        read_place(f"kafka://a:9092/?config={tmp_path}/none")


def test_a_property_that_the_client_does_not_know_is_refused_by_name(tmp_path: Path) -> None:
    path = write(tmp_path / "p", "sasl.pasword=hush")
    log = open_log(f"kafka://127.0.0.1:1/?config={path}")
    with pytest.raises(ValueError, match=r"sasl\.pasword") as raised:
        log.partitions("positions")
    assert "hush" not in str(raised.value)
    log.close()


def test_delivery_ends_before_the_log_promises_an_answer() -> None:
    assert int(PRODUCER["message.timeout.ms"]) <= 28_000
    assert (PRODUCER["acks"], PRODUCER["enable.idempotence"]) == ("all", True)
