"""`python -m sipit`: the command line."""

from sipit.cli import main

main()
