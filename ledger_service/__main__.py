"""`python -m ledger_service`."""

import sys

from ledger_service.cli import main

if __name__ == "__main__":  # processes that it starts import it, too
    sys.exit(main())
