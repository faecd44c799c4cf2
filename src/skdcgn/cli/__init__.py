"""The command line. ``skdcgn --help`` imports this, so nothing here imports torch at the top."""

from skdcgn.cli.process import main

__all__ = ["main"]
