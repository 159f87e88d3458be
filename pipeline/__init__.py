"""Move events: log, dataflow, lake. What an event means is decided in `geo`."""
