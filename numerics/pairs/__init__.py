"""The closest of very many points, and all pairs within a threshold: exact."""
