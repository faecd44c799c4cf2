"""The templates of pages: reports, and the page of a service."""

from jinja2 import Environment, PackageLoader, StrictUndefined


def templates() -> Environment:
    """Return the package's templates, which lie in ``report/``."""
    return Environment(
        loader=PackageLoader("skdcgn", "report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
