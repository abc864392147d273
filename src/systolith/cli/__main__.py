"""``python -m systolith.cli``."""

from systolith.cli import main

main()
