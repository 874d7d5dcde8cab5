"""The prefix that all candidates of one position share: recomputed, cached or packed, and which of these is sound."""
