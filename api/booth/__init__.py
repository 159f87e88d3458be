"""The booth of a lot: attendants count vehicles, take cash, and close the day."""
