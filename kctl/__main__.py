"""`python -m kctl` is `kctl`."""

import sys

from kctl.main import main

sys.exit(main())
