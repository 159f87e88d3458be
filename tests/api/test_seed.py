"""`parkpal seed`: an empty installation to try, and never a production one."""

import psycopg
import pytest
from argon2 import PasswordHasher
from click.testing import CliRunner, Result

from parkpal.cli import main
from parkpal.commands.api import _bring_up_to_date
from parkpal.examples.town import DRIVER, HOST, PASSWORD, example_people

pytestmark = pytest.mark.postgres


def seed(database_url: str, **settings: str) -> Result:
    environ = {"PARKPAL_DATABASE_URL": database_url} | settings
    return CliRunner().invoke(main, ["seed"], env=environ)


def test_there_are_zones_people_and_spaces_afterwards_and_twice_is_once(database_url: str) -> None:
    first, second = seed(database_url), seed(database_url)
    assert (first.exit_code, second.exit_code) == (0, 0), first.output + second.output
    assert first.output.startswith("4 fence versions, 2 people and 2 spaces added")
    assert second.output.startswith("0 fence versions, 0 people and 0 spaces added")
    with psycopg.connect(database_url) as connection:
        spaces = connection.execute("SELECT name FROM places WHERE state = 'listed'").fetchall()
        hashes = connection.execute("SELECT password_hash FROM people").fetchall()
    assert len(spaces) == 2
    assert all(PasswordHasher().verify(password_hash, PASSWORD) for (password_hash,) in hashes)


def test_examples_stay_out_of_production(database_url: str) -> None:
    assert seed(database_url, PARKPAL_ENV="production").exit_code == 2
    assert example_people(database_url) == []
    _bring_up_to_date(database_url, production=True)
    assert seed(database_url).exit_code == 0
    assert example_people(database_url) == [DRIVER, HOST]
    with pytest.raises(ValueError, match="whose password everybody knows"):
        _bring_up_to_date(database_url, production=True)
