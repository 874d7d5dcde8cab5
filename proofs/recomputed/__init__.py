"""Claims of the paper that are formulas: a certificate is accepted where it holds what is computed anew."""
