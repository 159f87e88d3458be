"""The auditor: one snapshot of ledger, captures, refunds and bookings, held to itself and to the provider.

The provider is read after the snapshot, so all that the snapshot knows must be there; what the provider has beyond is
on its way, and `complete` says that nothing may be any more.
"""

from collections import defaultdict
from typing import Any, Final

import httpx
import psycopg

from api.database import load_queries

QUERIES: Final = load_queries("tests.crash", "money_audit.sql")


def audit(database_url: str, simulator_url: str, *, complete: bool = False) -> list[str]:
    """Return what is wrong."""
    with psycopg.connect(database_url) as connection:
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        wrong = [f"{name}: {row[0]}" for name, query in QUERIES.items() for row in connection.execute(query)]
        captures = connection.execute(
            "SELECT provider_ref, amount_minor, currency FROM captures WHERE provider NOT IN ('credit', 'cash')"
        ).fetchall()
        refunds = connection.execute(
            "SELECT refund_id, provider_ref, amount_minor, status FROM refunds WHERE way = 'rail'"
        ).fetchall()
        waiting = connection.execute(
            "SELECT account, sum(balance_minor) FROM ledger_balances "
            "WHERE account IN ('unallocated', 'refund_due') AND balance_minor <> 0 GROUP BY account"
        ).fetchall()
        ours = {row[0].hex for row in connection.execute("SELECT payment_id FROM payments")}
    money = httpx.get(f"{simulator_url}/control/money", timeout=60).json()
    wrong += _against_provider(captures, refunds, money)
    if complete:
        wrong += [f"{amount} is {account} at the end" for account, amount in waiting]
        known = {ref for ref, *_ in captures}
        paid = [each for each in money["payments"] if each["reference"] in ours]
        wrong += [f"payment {each['payment_id']} is not known" for each in paid if each["payment_id"] not in known]
        done = sum(amount for _, _, amount, status in refunds if status == "done")
        back = {each["payment_id"]: each["refunded"] for each in paid}
        if done != sum(back.values()):
            wrong.append(f"{done} was refunded, {sum(back.values())} at the provider")
    return wrong


def totals(database_url: str) -> dict[str, int]:
    """Return how much stands in each class of account."""
    with psycopg.connect(database_url) as connection:
        rows = connection.execute(
            "SELECT class, sum(amount_minor)::bigint FROM ledger_postings JOIN ledger_accounts USING (account) "
            "GROUP BY class ORDER BY class"
        ).fetchall()
    return dict(rows)


def _against_provider(captures: list[Any], refunds: list[Any], money: dict[str, list[dict[str, Any]]]) -> list[str]:
    payments = {each["payment_id"]: each for each in money["payments"]}
    wrong = []
    for ref, amount, currency in captures:
        paid = payments.get(ref)
        if paid is None or (paid["amount"], paid["currency"]) != (amount, currency):
            wrong.append(f"capture {ref} of {amount} {currency} is {paid} at the provider")
    by_reference: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for each in money["refunds"]:
        by_reference[each["metadata"].get("reference", "")].append(each)
    for refund_id, ref, amount, status in refunds:
        made = [each for each in by_reference[refund_id.hex] if each["status"] != "failed"]
        if len(made) > 1:
            wrong.append(f"refund {refund_id} was made {len(made)} times")
        if status == "done" and ref is not None and [each["amount"] for each in made] != [amount]:
            wrong.append(f"refund {refund_id} of {amount} is {made} at the provider")
    return wrong
