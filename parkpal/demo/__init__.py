"""The demo: a simulated hour through the real commands over real HTTP; a second run goes on where the first ended."""
