"""Live events: what the dataflow has just decided, to whoever follows."""
