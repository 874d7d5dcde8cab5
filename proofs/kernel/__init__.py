"""The checker: what re-derives a certificate. It imports what a network means and its arithmetic, never a prover."""
