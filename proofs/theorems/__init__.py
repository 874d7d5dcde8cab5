"""Theorems 2.2 and 2.3 of the paper on actual architectures, and the project's own."""
