"""Money: taken from drivers through providers, kept in a ledger of double entry, given back, and paid out to hosts."""
