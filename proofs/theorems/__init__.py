"""Theorem 2.2 of the paper on actual architectures, and which prompts collide there for every parameter."""
