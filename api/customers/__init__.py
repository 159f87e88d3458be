"""Customers of the statistics: what their contracts let them see, and the keys they see it with."""
