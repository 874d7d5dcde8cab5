"""What all networks of `transformers` have in common: a residual stream, a text decoder, a small copy."""
