"""`python -m portal` is the `gatehouse` command."""

from portal.cli import main

main()
