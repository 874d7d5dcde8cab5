"""What a run of `compare` is called: a model, with its settings behind an @, or a states file."""


def named_run(text: str) -> tuple[str, str]:
    """The name of a model or file, and its settings as given; an @ without settings behind it is part of the name."""
    name, at, settings = text.rpartition("@")
    return (name, settings) if at and "=" in settings else (text, "")
