"""Ends with one sentence where the Python that runs it is none that pyproject.toml states.

Written with what every Python 3 and even Python 2 reads, since it is for those that read nothing else here.
"""

import re
import sys

with open("pyproject.toml") as stream:
    stated = re.search('requires-python = ">=3[.]([0-9]+),<3[.]([0-9]+)"', stream.read())
oldest, newest = int(stated.group(1)), int(stated.group(2)) - 1
if not (3, oldest) <= sys.version_info[:2] <= (3, newest):
    sys.stderr.write(
        "Expected a Python from 3." + str(oldest) + " to 3." + str(newest) + ", but got " + sys.version.split()[0] + " "
        "at " + sys.executable + "; name another: make PYTHON=python3." + str(newest) + "\n"
    )  # fmt: skip
    sys.exit(2)
