"""What is proved of a model, and re-checked: the work behind `check`, `prove`, `certify` and `verify`."""
