"""A WebSocket client on a socket, with or without TLS, that reads and sends exactly what a test asks for."""

import socket
import struct

from support import LIMIT, status, upgrade_head

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10


def frame(opcode, payload):
    """Returns a frame that is masked with zeros, so that its payload stays as it is."""
    length = len(payload)
    if length < 126:
        head = struct.pack("!BB", 0x80 | opcode, 0x80 | length)
    elif length < 65_536:
        head = struct.pack("!BBH", 0x80 | opcode, 0x80 | 126, length)
    else:
        head = struct.pack("!BBQ", 0x80 | opcode, 0x80 | 127, length)
    return head + bytes(4) + payload


class Frames:
    """Takes the frames of a server out of what `receive()` returns."""

    def __init__(self, receive):
        self.receive, self.bytes = receive, bytearray()

    def take(self, count):
        while len(self.bytes) < count:
            part = self.receive()
            if not part:
                raise EOFError(f"the stream ended with {len(self.bytes)} of {count} bytes")
            self.bytes += part
        taken = bytes(self.bytes[:count])
        del self.bytes[:count]
        return taken

    def head(self):
        """Returns the head of the HTTP answer."""
        while b"\r\n\r\n" not in self.bytes:
            part = self.receive()
            if not part:
                raise EOFError(f"the stream ended after {bytes(self.bytes)!r}")
            self.bytes += part
        return self.take(self.bytes.index(b"\r\n\r\n") + 4)

    def frame(self):
        """Returns the opcode and the payload of the next frame."""
        first, length = self.take(2)
        if length == 126:
            (length,) = struct.unpack("!H", self.take(2))
        elif length == 127:
            (length,) = struct.unpack("!Q", self.take(8))
        return first & 15, self.take(length)


class WebSocket:
    """A connected client. `status` is that of the answer to its opening handshake."""

    def __init__(self, port, path="/echo", context=None, rcvbuf=None):
        self.stream = socket.socket()
        if rcvbuf:
            self.stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, rcvbuf)
        self.stream.settimeout(LIMIT)
        self.stream.connect(("127.0.0.1", port))
        if context:
            self.stream = context.wrap_socket(self.stream, server_hostname="localhost")
        self.stream.sendall(upgrade_head(port, path))
        self.frames = Frames(lambda: self.stream.recv(16_384))
        self.status = status(self.frames.head())

    def send(self, opcode, payload):
        self.stream.sendall(frame(opcode, payload))

    def frame(self):
        """Returns the next frame that is no ping. Answers pings."""
        while True:
            opcode, payload = self.frames.frame()
            if opcode != PING:
                return opcode, payload
            self.send(PONG, payload)

    def echo(self, text):
        """Sends a text, and returns the next frame."""
        self.send(TEXT, text)
        return self.frame()

    def close_code(self):
        """Reads to the Close, and returns its code."""
        while True:
            opcode, payload = self.frame()
            if opcode == CLOSE:
                return struct.unpack("!H", payload[:2])[0]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stream.close()
