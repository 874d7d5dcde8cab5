"""What survives rounding: measurements and exact searches over floating-point states."""
