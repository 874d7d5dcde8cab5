"""One lemma for every operation: the shape it must have, the class it keeps, and exact bounds."""
