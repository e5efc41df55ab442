"""`python -m kubelet.runtime.oci_command`."""

import sys

from kubelet.runtime.oci_command.main import main

if __name__ == "__main__":
    sys.exit(main())
