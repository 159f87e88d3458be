"""`python -m parkpal`: the same as `parkpal`."""

from parkpal.cli import main

main()
