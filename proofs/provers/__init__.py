"""What finds proofs; the kernel checks them."""
