"""What is observed of a run: which tensor of the network, at which layers; found in a model by running it."""
