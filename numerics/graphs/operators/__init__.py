"""One rule for each of torch's operators: which operations of `proofs` it is."""
