"""What the lake asks of Linux and Python does not offer: exchange two names, and tell who has a directory open."""

import ctypes
import errno
import os
import struct
from pathlib import Path
from typing import Final, Self

NO_REPLACE: Final = 1
EXCHANGE: Final = 2

_AT_FDCWD: Final = -100
_OPENED: Final = 0x20
_CLOSED: Final = 0x08 | 0x10
_OVERFLOW: Final = 0x4000
_EVENT: Final = struct.Struct("iIII")
_READ_BYTES: Final = 1 << 16


def rename(source: Path, target: Path, flags: int) -> None:
    """Call renameat2; OSError as for any other rename, ENOSYS where there is none."""
    libc = ctypes.CDLL(None, use_errno=True)
    if not hasattr(libc, "renameat2"):
        raise OSError(errno.ENOSYS, "the C library has no renameat2", str(source))
    if libc.renameat2(_AT_FDCWD, os.fsencode(source), _AT_FDCWD, os.fsencode(target), flags):
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), str(source))


class Openers:
    """Counts who opens and closes a directory, by any process and path, from the moment it is made (inotify)."""

    def __init__(self, folder: Path) -> None:
        """Watch a directory; one that cannot be watched is taken to be open for good."""
        libc = ctypes.CDLL(None, use_errno=True)
        self._descriptor: int = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        self._open = 0
        self._unsure = libc.inotify_add_watch(self._descriptor, os.fsencode(folder), _OPENED | _CLOSED) < 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)

    def any(self) -> bool:
        """Tell whether somebody who opened it since has not closed it yet."""
        while not self._unsure:
            try:
                events = os.read(self._descriptor, _READ_BYTES)
            except BlockingIOError:
                break
            self._count(events)
        return self._unsure or self._open > 0

    def _count(self, events: bytes) -> None:
        at = 0
        while at < len(events):
            _, mask, _, length = _EVENT.unpack_from(events, at)
            at += _EVENT.size + length
            if mask & _OVERFLOW:
                self._unsure = True
            elif not length:  # an event of a file in the directory has a name
                self._open += bool(mask & _OPENED) - bool(mask & _CLOSED)
