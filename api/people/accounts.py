"""How a person gets an account and into it. Whether a contact is known here, no answer and no delay tells.

Nobody has an account before a code has proved the contact. Sign-up and reset answer alike for known and unknown
contacts: who owns the contact learns the truth from the message.
"""

from typing import Any, Final, NamedTuple
from uuid import UUID

from api.contacts import Contact, parse_contact
from api.database import Connection, Pool, load_queries
from api.errors import FieldError, InvalidRequestError, UnauthenticatedError, WrongCodeError
from api.limiter import Limiter
from api.outbox.messages import put_message
from api.people.codes import Codes, use_code
from api.people.passwords import Passwords
from api.people.sign_ins import SignedIn, SignIns
from api.tenancy import authenticating

_SQL: Final = load_queries("api.people", "people.sql")


class Limits(NamedTuple):
    """How often codes may be asked for and passwords be tried: by contact, and by address."""

    codes_by_contact: Limiter
    tries_by_contact: Limiter
    by_address: Limiter


class Accounts(NamedTuple):
    """Signs people up and in."""

    pool: Pool
    passwords: Passwords
    codes: Codes
    sign_ins: SignIns
    limits: Limits

    async def sign_up(self, contact: Contact, password: str, person: dict[str, Any]) -> None:
        """Send a code that makes the account; who has one already is told so instead. person: name, locale, consent."""
        await self.limits.codes_by_contact.take(contact.text)
        payload = person | {"password_hash": await self.passwords.hash(password)}
        async with authenticating(self.pool) as connection:
            known = await _by_contact(connection, contact)
            if known is None:
                code = await self.codes.draw(connection, "sign_up", contact, payload)
                await put_message(connection, contact, "sign_up", person["locale"], {"code": code})
            else:
                await put_message(connection, contact, "known", known.locale, {})

    async def confirm(self, contact: Contact, code: str) -> SignedIn:
        """Make the account that the code was for, and sign in; WrongCodeError."""
        await self.limits.tries_by_contact.take(contact.text)
        tried = await self.codes.check("sign_up", contact, code)
        async with authenticating(self.pool) as connection:
            await use_code(connection, tried.code_id)
            person = {"email": None, "phone": None} | tried.payload | {contact.kind: contact.text}
            row = await (await connection.execute(_SQL["add_person"], person)).fetchone()
            if row is None:
                raise WrongCodeError
            await add_consents(connection, row.person_id, person["consent"])
            return await self.sign_ins.begin(connection, row.person_id)

    async def sign_in(self, contact: Contact, password: str) -> SignedIn:
        """Sign in; UnauthenticatedError for a wrong password and an unknown contact alike."""
        await self.limits.tries_by_contact.take(contact.text)
        async with authenticating(self.pool) as connection:
            known = await _by_contact(connection, contact)
        if not await self.passwords.verify(known.password_hash if known else None, password) or known is None:
            raise UnauthenticatedError("Contact or password is wrong.")
        async with authenticating(self.pool) as connection:
            return await self.sign_ins.begin(connection, known.person_id)

    async def ask_reset(self, contact: Contact) -> None:
        """Send a code to set a new password with, where there is an account."""
        await self.limits.codes_by_contact.take(contact.text)
        async with authenticating(self.pool) as connection:
            known = await _by_contact(connection, contact)
            if known is not None:
                code = await self.codes.draw(connection, "reset", contact, {"person_id": str(known.person_id)})
                await put_message(connection, contact, "reset", known.locale, {"code": code})

    async def reset(self, contact: Contact, code: str, password: str) -> None:
        """Set a new password and end every sign-in; WrongCodeError."""
        await self.limits.tries_by_contact.take(contact.text)
        tried = await self.codes.check("reset", contact, code)
        password_hash = await self.passwords.hash(password)
        async with authenticating(self.pool) as connection:
            await use_code(connection, tried.code_id)
            parameters = {"person_id": UUID(tried.payload["person_id"]), "password_hash": password_hash}
            await connection.execute(_SQL["set_password"], parameters)
            await connection.execute(_SQL["revoke_person"], parameters)


async def add_consents(connection: Connection, person_id: UUID, consent: dict[str, bool]) -> None:
    """Record a person's answers by purpose."""
    parameters = {"person_id": person_id, "purposes": list(consent), "granted": list(consent.values())}
    await connection.execute(_SQL["add_consents"], parameters)


def read_contact(text: str) -> Contact:
    """Read the field `contact` of a request; InvalidRequestError says what is wrong with it."""
    try:
        return parse_contact(text)
    except ValueError as error:
        raise InvalidRequestError(errors=[FieldError("contact", str(error))]) from None


async def _by_contact(connection: Connection, contact: Contact) -> Any:  # noqa: ANN401  # a named tuple or None
    return await (await connection.execute(_SQL["by_contact"], {"contact": contact.text})).fetchone()
