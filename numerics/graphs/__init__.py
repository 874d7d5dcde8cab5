"""Networks as graphs of `proofs`: traced, lowered to its operations, in small copies and in variants."""
