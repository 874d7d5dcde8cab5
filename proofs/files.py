"""Files that a user names, read whole: as much as is meant and no more, for what has no size beforehand has no end."""

import errno
import os
import stat
from pathlib import Path

_AT_ONCE = 2**20  # bytes: room for all that may come is not taken beforehand


def expect_lasting(path: Path) -> None:
    """For what is read more than once, or from the middle: a pipe would be waited for, and give what it holds once.

    Raises:
        OSError: there is nothing by this name, or it is a pipe or a device.
    """
    mode = path.stat().st_mode
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise OSError(errno.EINVAL, "it is no file on a disk, which can be read again")


def beginning(path: Path, size: int = 8) -> bytes:
    """The first bytes of a file that is read again.

    Raises:
        OSError: as for `expect_lasting`, or it cannot be read.
    """
    expect_lasting(path)
    with path.open("rb") as stream:
        return stream.read(size)


def whole_file(path: Path, *, most: int) -> bytes | None:
    """What a file or a pipe holds; None where that is more than `most` bytes.

    Raises:
        OSError: it cannot be read, or is a device that gives bytes for ever.
    """
    with path.open("rb") as stream:
        about = os.fstat(stream.fileno())
        if stat.S_ISBLK(about.st_mode) or (stat.S_ISCHR(about.st_mode) and not stream.isatty()):
            raise OSError(errno.EINVAL, "it is a device")
        content = bytearray()
        while about.st_size <= most and (piece := stream.read(_AT_ONCE)):
            content += piece
            if len(content) > most:
                return None
    return bytes(content) if about.st_size <= most else None
