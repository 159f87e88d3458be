"""One file a command; `parkpal.cli` gathers them."""
