"""A contact is an e-mail address or a telephone number, in the one form in which it is compared and stored."""

from typing import Final, Literal, NamedTuple

import phonenumbers
from email_validator import EmailNotValidError, validate_email

HOME_COUNTRY: Final = "PH"
"""Where a number without a country code is taken to be."""


class Contact(NamedTuple):
    """Where a person can be reached: `text` is lower-case e-mail or E.164."""

    kind: Literal["email", "phone"]
    text: str


def parse_contact(text: str) -> Contact:
    """Read what a person typed; ValueError says what is wrong with it."""
    text = text.strip()
    if "@" in text:
        try:
            return Contact("email", validate_email(text, check_deliverability=False).normalized.lower())
        except EmailNotValidError as error:
            raise ValueError(f"no e-mail address: {error}") from None
    try:
        number = phonenumbers.parse(text, HOME_COUNTRY)
    except phonenumbers.NumberParseException:
        raise ValueError("neither an e-mail address nor a telephone number") from None
    if not phonenumbers.is_valid_number(number):
        raise ValueError("no valid telephone number: write it with its country code, as +63 917 ...")
    return Contact("phone", phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164))
