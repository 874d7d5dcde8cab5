"""What can be read off a graph: what depends on what, which prompts it cannot tell apart, how claims are lifted."""
