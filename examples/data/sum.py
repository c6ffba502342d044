"""Adds up the numbers of a file."""

import sys

with open(sys.argv[1]) as numbers, open(sys.argv[2], "w") as out:
    print(sum(int(line) for line in numbers), file=out)
