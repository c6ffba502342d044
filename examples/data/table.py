"""A table as text."""


def lines(rows):
    return "".join("\t".join(str(cell) for cell in row) + "\n" for row in rows)
