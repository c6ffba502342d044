"""Prints one line for each entry of a folder: its name and what is in it."""
import pathlib
import sys

for entry in sorted(pathlib.Path(sys.argv[1]).iterdir()):
    print(entry.name, entry.read_text().strip())
