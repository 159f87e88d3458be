"""Accounts: who people are, how they prove it, what they may do, and what they may have told or forgotten."""
