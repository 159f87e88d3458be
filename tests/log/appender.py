"""Append numbered messages in groups over all partitions, and print each once it is acknowledged: for the contract.

Usage: appender.py URL NAME MESSAGES (0: without end).
"""

import itertools
import sys

from pipeline.log import NewMessage
from pipeline.log.open import open_log


def main(url: str, name: str, messages: int) -> None:
    log = open_log(url)
    for start in itertools.count(0, 3):
        if messages and start >= messages:
            break
        group = [(number, number % 4) for number in range(start, start + 3)]
        new = [NewMessage("positions", p, f"{name}{number}".encode() + b"." * 3_000) for number, p in group]
        offsets = log.append(new)
        for (number, partition), offset in zip(group, offsets, strict=True):
            print(partition, offset, f"{name}{number}")
        sys.stdout.flush()
    log.close()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
