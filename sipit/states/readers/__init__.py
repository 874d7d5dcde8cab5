"""States in files of other programs: containers of tensors, and what each program means by the tensors in them."""
