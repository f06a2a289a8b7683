"""The command ``rq``."""

import signal
import sys

from . import _native


def main() -> int:
    # The command handles Ctrl-C, or is ended by it, as if it weren't run by Python.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    return _native.command(sys.argv)
