"""Which axes of a tensor survive a reshape: both are cut into the shortest groups of equal size."""


def groups(old: tuple[int, ...], new: tuple[int, ...]) -> list[tuple[list[int], list[int]]]:
    """Pairs of runs of axes, old and new, that hold as many entries; axes of size one join the run at hand."""
    result: list[tuple[list[int], list[int]]] = []
    i = j = 0
    while i < len(old) or j < len(new):
        left: list[int] = []
        right: list[int] = []
        sizes = [1, 1]
        while True:
            if sizes[0] <= sizes[1] and i < len(old) and (sizes[0] < sizes[1] or not left):
                left.append(i)
                sizes[0] *= old[i]
                i += 1
            elif sizes[1] < sizes[0] or (not right and j < len(new)):
                if j >= len(new):
                    break
                right.append(j)
                sizes[1] *= new[j]
                j += 1
            else:
                break
        result.append((left, right))
    return result
