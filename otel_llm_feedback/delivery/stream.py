"""A TCP or TLS client connection that waits for nothing longer than it may.

``socket.settimeout`` limits every single operation, so that a server which sends one byte a second is waited for without
end, and no other thread can end the wait. A `Stream` never blocks in the socket: it waits in ``poll`` for the socket or an
`Alarm`, whichever comes first, until one deadline for everything.
"""

from __future__ import annotations

import errno
import io
import os
import select
import socket
import ssl
import time
from functools import partial
from typing import TYPE_CHECKING, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

    from _typeshed import WriteableBuffer

__all__ = ["Alarm", "Interrupted", "Stream"]

T = TypeVar("T")

_LONGEST_WAIT_SECONDS: Final = 86_400.0
_SENT_AT_ONCE: Final = 256 * 1024


class Interrupted(Exception):
    """The alarm rang while waiting."""


class Alarm:
    """Rings once, from any thread, and keeps ringing."""

    def __init__(self) -> None:
        self._listen, self._ring = socket.socketpair()
        self._ring.setblocking(False)

    def fileno(self) -> int:
        """The descriptor that is readable once the alarm rings."""
        return self._listen.fileno()

    def ring(self) -> None:
        """Wake whoever waits now or later."""
        self._ring.send(b"!")

    def close(self) -> None:
        """Give the descriptors back."""
        self._listen.close()
        self._ring.close()


class Stream:
    """A connected non-blocking socket; has as much of a socket's interface as ``http.client`` uses."""

    def __init__(self, sock: socket.socket, alarm: Alarm, deadline: float) -> None:
        self.deadline = deadline
        """The ``time.monotonic()`` by which every operation ends."""
        self.cut_short = False
        """Whether the peer stopped listening, or answered, before everything was sent."""
        self.ended = False
        """Whether the peer has said all that it will."""
        self._sock = sock
        self._alarm = alarm
        sock.setblocking(False)

    @classmethod
    def connect(cls, host: str, port: int, alarm: Alarm, deadline: float) -> Stream:
        """Connect to the first address of ``host`` that accepts. Raises ``OSError`` and `Interrupted`.

        Looking the name up is the one step that the deadline does not bound; the system's resolver does.
        """
        failure: OSError | None = None
        places = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        for left, (family, kind, proto, _, address) in zip(range(len(places), 0, -1), places, strict=True):
            share = (deadline - time.monotonic()) / left  # a silent address leaves time for those after it
            stream = cls(socket.socket(family, kind, proto), alarm, time.monotonic() + share)
            try:
                stream._connect(address)
            except OSError as error:
                stream.dispose()
                failure = error
            except Interrupted:
                stream.dispose()
                raise
            else:
                stream.deadline = deadline
                return stream
        raise failure or OSError(f"{host} has no address")

    def _connect(self, address: tuple[object, ...]) -> None:
        self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        code = self._sock.connect_ex(address)
        if code == errno.EINPROGRESS:
            self._wait(select.POLLOUT)
            code = self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            raise OSError(code, os.strerror(code))

    def start_tls(self, context: ssl.SSLContext, host: str) -> None:
        """Shake hands. Raises ``OSError`` (``ssl.SSLError``) and `Interrupted`."""
        wrapped = context.wrap_socket(self._sock, server_hostname=host, do_handshake_on_connect=False)
        self._sock = wrapped
        self._retry(wrapped.do_handshake, select.POLLIN)

    def is_stale(self) -> bool:
        """Whether the peer has closed, or said something unasked, since the last answer."""
        poller = select.poll()
        poller.register(self._sock, select.POLLIN)
        return bool(poller.poll(0))

    def sendall(self, data: bytes) -> None:
        """Send everything, or set ``cut_short``: the peer may have explained itself, so that is no error yet."""
        rest = memoryview(data)
        while rest and not self.cut_short:
            try:
                sent = self._retry(partial(self._sock.send, rest[:_SENT_AT_ONCE]), select.POLLOUT, early=True)
            except (BrokenPipeError, ConnectionResetError):
                sent = None
            self.cut_short = sent is None
            rest = rest[sent or 0 :]

    def receive_into(self, buffer: WriteableBuffer) -> int:
        """Receive into ``buffer``; 0 at the end of the stream."""
        received = self._retry(lambda: self._sock.recv_into(buffer), select.POLLIN) or 0
        self.ended = received == 0
        return received

    def makefile(self, *_: object) -> io.BufferedReader:
        """A reader over this stream, as ``http.client`` asks for."""
        return io.BufferedReader(_Reader(self))

    def close(self) -> None:
        """Nothing: ``http.client`` calls this while the answer is still being read. See `dispose`."""

    def dispose(self) -> None:
        """Close the descriptor, without a word to the peer: after a fork it still belongs to the parent as well."""
        self._sock.close()

    def _retry(self, operation: Callable[[], T], events: int, *, early: bool = False) -> T | None:
        """Do it as soon as the socket lets us; None when ``early`` and an answer came before we could send on."""
        while True:
            if time.monotonic() >= self.deadline:
                raise TimeoutError("no answer in time")
            try:
                return operation()
            except ssl.SSLWantReadError:
                self._wait(select.POLLIN)
            except ssl.SSLWantWriteError:
                self._wait(select.POLLOUT)
            except BlockingIOError:
                ready = self._wait(events | select.POLLIN if early else events)
                if early and not ready & events:
                    return None

    def _wait(self, events: int) -> int:
        remaining = min(self.deadline - time.monotonic(), _LONGEST_WAIT_SECONDS)
        poller = select.poll()
        poller.register(self._sock, events)
        poller.register(self._alarm, select.POLLIN)
        ready = dict(poller.poll(max(0.0, remaining) * 1000))
        if self._alarm.fileno() in ready:
            raise Interrupted
        if not ready:
            raise TimeoutError("no answer in time")
        return ready[self._sock.fileno()]


class _Reader(io.RawIOBase):
    def __init__(self, stream: Stream) -> None:
        self._stream = stream

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        return self._stream.receive_into(buffer)
