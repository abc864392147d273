"""``python -m systolith``."""

from systolith.cli import main

main()
