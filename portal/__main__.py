"""`python -m portal` is the `gatehouse` command."""

from portal.operation.cli import main

main()
