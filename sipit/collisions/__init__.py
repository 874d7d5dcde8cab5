"""The closest pairs and all collisions among very many prompts, each with its cause."""
