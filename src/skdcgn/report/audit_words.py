"""Words of an audit as its report prints them."""


def spaced(name: str) -> str:
    """Print the name of a mechanism or a subset: ``texture + background``."""
    return name.replace("+", " + ")
