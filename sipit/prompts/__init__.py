"""Prompts as token ids: files that people write, text that Python carries, corpora and their windows."""
