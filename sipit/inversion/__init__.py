"""The road from states to a prompt: policies propose tokens, the verifier decides, the search repairs."""
