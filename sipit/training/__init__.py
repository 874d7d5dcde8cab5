"""A small transformer trained from scratch, with the states of fixed prompts followed along the way."""
