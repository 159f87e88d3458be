"""Webhooks out: operators are told of their bookings, as Standard Webhooks says, and reached nowhere but in public."""
