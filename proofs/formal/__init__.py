"""The theories under a proof assistant, and what ties them to the program."""
