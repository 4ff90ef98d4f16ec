"""`python -m ledger_service`."""

import sys

from ledger_service.cli import main

sys.exit(main())
