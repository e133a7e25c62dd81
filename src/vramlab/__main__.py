"""`python -m vramlab`, as the command `vramlab`."""

import sys

from vramlab.command.main import main

if __name__ == "__main__":
    sys.exit(main())
