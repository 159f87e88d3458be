"""A place promised for a window of time: PostgreSQL decides who gets it, pure modules what it costs and when."""
