"""Running enclosures through a network, and the distances between what comes out."""
