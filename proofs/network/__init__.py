"""What is spoken about: the captured network as plain data, exact numbers, and the weights it is run with."""
