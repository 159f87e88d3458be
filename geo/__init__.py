"""Decide from columns: fixes in, facts out. No I/O, no clock, no randomness, no logging."""
