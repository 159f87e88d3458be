"""Settings: defaults, sources, rules."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from parkpal.commands.settings import settings
from parkpal.settings import Settings, SettingsError, describe


def test_everything_has_a_default_under_the_data_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    read = Settings.read({})
    assert read.data_dir == tmp_path / "data"
    assert read.log_url == f"sqlite://{tmp_path}/data/log.sqlite"
    assert read.lake_url == f"file://{tmp_path}/data/lake"
    assert read.database_url == f"postgresql+embedded:///{tmp_path}/data/postgres"
    assert (read.host, read.port, read.env) == ("127.0.0.1", 8080, "development")


def test_the_data_folder_moves_what_lies_under_it() -> None:
    read = Settings.read({"PARKPAL_DATA_DIR": "/srv/a b", "PARKPAL_PORT": "9000"})
    assert read.keys_dir == Path("/srv/a b/keys")
    assert read.lake_url == "file:///srv/a%20b/lake"
    assert read.port == 9000


@pytest.mark.parametrize(
    ("variable", "value", "rule"),
    [
        ("PARKPAL_PORT", "http", "a whole number from 0 to 65535"),
        ("PARKPAL_PORT", "70000", "a whole number from 0 to 65535"),
        ("PARKPAL_ENV", "prod", "one of development, production"),
        ("PARKPAL_LOG_URL", "/var/log", "starts with sqlite:// or kafka://"),
        ("PARKPAL_REGISTRATIONS_PER_MINUTE", "0", "a whole number from 1"),
    ],
)
def test_a_setting_that_breaks_its_rule_is_named_with_the_rule(variable: str, value: str, rule: str) -> None:
    with pytest.raises(SettingsError, match=f"{variable} must be .*{rule}"):
        Settings.read({variable: value})


def test_sources_are_told_and_passwords_are_not() -> None:
    environ = {
        "PARKPAL_DATABASE_URL": "postgresql://user:se:cret@host/db",
        "PARKPAL_LOG_URL": "kafka://h?password=x&a=b",
    }
    rows = {variable: (value, source) for variable, value, source in describe(Settings.read(environ), environ)}
    assert rows["PARKPAL_DATABASE_URL"] == ("postgresql://user:***@host/db", "environment")
    assert rows["PARKPAL_LOG_URL"] == ("kafka://h?password=***&a=b", "environment")
    assert rows["PARKPAL_HOST"] == ("127.0.0.1", "default")


def test_the_command_prints_each_setting_and_refuses_bad_ones() -> None:
    printed = CliRunner().invoke(settings, env={"PARKPAL_PORT": "81"})
    assert printed.exit_code == 0
    assert "PARKPAL_PORT" in printed.output
    assert CliRunner().invoke(settings, env={"PARKPAL_PORT": "x"}).exit_code == 2
