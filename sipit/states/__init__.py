"""Hidden states: captured from a model, in files with their manifest, on disk for a corpus, changed on purpose."""
