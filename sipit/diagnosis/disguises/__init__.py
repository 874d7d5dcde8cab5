"""States that were disguised on purpose: what a disguise leaves of them, and what that tells of the prompt."""
