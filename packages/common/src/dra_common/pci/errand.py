"""The program of the helper process: makes system calls that may block in the kernel for ever.

It is run by its path, without site-packages, and imports only what every interpreter has loaded: a start takes 10 ms.
Its arguments are the numbers of the locked descriptors that it inherited. A request is one line of words, all but the
first in hexadecimal; so is the answer:

.. code-block:: text

    read  <path> <longest>           ->  <errno> <content>
    write <path> <data> <doing>      ->  <errno> <number of bytes taken, as text>
    ask   <socket> <line> <doing>    ->  <errno> <line of the answer>

While a change is being made, ``doing`` stands in the locked files, for whoever waits for them. The process ends with
its input, so also when the driver was killed; but not before the kernel has returned from what it was asked last.
"""

from __future__ import annotations

import os
import signal
import sys

_CHUNK = 1 << 16


def read(path: bytes, longest: bytes) -> bytes:
    """Return a file, or its beginning."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
    left, content = int(longest), b""
    while left > len(content) and (chunk := os.read(descriptor, min(left - len(content), _CHUNK))):
        content += chunk
    os.close(descriptor)
    return content


def write(path: bytes, data: bytes) -> bytes:
    """Write to an existing file in one system call."""
    descriptor = os.open(path, os.O_WRONLY)
    try:
        return b"%d" % os.write(descriptor, data)
    finally:
        os.close(descriptor)


def ask(path: bytes, line: bytes) -> bytes:
    """Send a line to a unix socket, and return the answer."""
    import socket  # noqa: PLC0415 - only simulated machines need it, and it doubles the time of a start

    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(path)
        connection.sendall(line)
        answer = b""
        while not answer.endswith(b"\n") and (chunk := connection.recv(_CHUNK)):
            answer += chunk
        return answer


def note(locks: list[int], doing: bytes) -> None:
    """Write into the locked files what is being done; nothing when it is done."""
    for lock in locks:
        os.ftruncate(lock, 0)
        os.pwrite(lock, doing, 0)


def change(locks: list[int], word: bytes, place: bytes, data: bytes, doing: bytes) -> bytes:
    """Make one change."""
    note(locks, doing)
    try:
        return write(place, data) if word == b"write" else ask(place, data)
    finally:
        note(locks, b"")


def serve(locks: list[int], line: bytes) -> bytes:
    """Return the answer to one request."""
    word, *fields = line.split(b" ")
    arguments = [bytes.fromhex(field.decode()) for field in fields]
    try:
        content = read(*arguments) if word == b"read" else change(locks, word, *arguments)
    except OSError as error:
        return b"%d \n" % (error.errno or 5)
    return b"0 %s\n" % content.hex().encode()


def main() -> None:
    """Serve until there are no more requests."""
    # Whoever ends a whole session or container politely must not let go of a lock that the kernel still needs.
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    locks = [int(number) for number in sys.argv[1:]]
    for line in sys.stdin.buffer:
        try:
            os.write(1, serve(locks, line.rstrip(b"\n")))
        except BrokenPipeError:
            break
    os._exit(0)


if __name__ == "__main__":
    main()
