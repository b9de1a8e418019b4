"""How far two words are from each other."""


def within_typos(left: str, right: str, most: int) -> int | None:
    """The Damerau-Levenshtein distance (insertions, deletions, substitutions and swaps of neighbours) if it is no more
    than `most`."""
    if abs(len(left) - len(right)) > most:
        return None
    before: list[int] = []
    row = list(range(len(right) + 1))
    for i, a in enumerate(left, 1):
        previous, row = row, [i]
        for j, b in enumerate(right, 1):
            best = min(previous[j] + 1, row[j - 1] + 1, previous[j - 1] + (a != b))
            if i > 1 and j > 1 and a == right[j - 2] and left[i - 2] == b:
                best = min(best, before[j - 2] + 1)
            row.append(best)
        if min(row) > most:
            return None
        before = previous
    return row[-1] if row[-1] <= most else None
