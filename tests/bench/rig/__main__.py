"""Whether all tools of the rig are there; says how to get them. Used by the Makefile before anything is installed."""

import sys

from tests.bench.rig import Missing, require

try:
    require()
except Missing as missing:
    sys.exit(f"bench: {missing}")
