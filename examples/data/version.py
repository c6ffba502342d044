"""Writes the version of an installed package into a file."""

import sys
from importlib.metadata import version

package, path = sys.argv[1:]
with open(path, "w", encoding="utf-8") as file:
    file.write(version(package) + "\n")
