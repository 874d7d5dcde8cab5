"""The number systems in which one graph is evaluated."""
