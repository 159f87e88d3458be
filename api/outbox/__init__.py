"""Messages to people: written in the transaction that causes them, sent by a relay, at least once."""
