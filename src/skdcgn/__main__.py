"""``python -m skdcgn``."""

from skdcgn.cli import main

main()
