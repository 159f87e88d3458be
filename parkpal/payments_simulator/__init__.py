"""Both payment providers as one process: their documented APIs, their limits, and their faults when told to."""
