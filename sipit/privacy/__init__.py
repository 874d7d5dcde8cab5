"""What states give away, and whether they are what they are said to be: leak, audit, compare."""
