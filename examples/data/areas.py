"""Writes a table of areas, with modules that lie beside this script."""

import sys

import table
from shapes.square import area

with open(sys.argv[1], "w", encoding="utf-8") as out:
    out.write(table.lines((side, area(side)) for side in range(1, 6)))
