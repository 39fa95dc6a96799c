"""COUNT connections, up to AT_ONCE at a time, from each SOURCE in turn: ADDRESS PORT COUNT AT_ONCE SOURCE... Each has a message
echoed and compared, and ends by our FIN first, so that a lost segment is sent again. The first error ends all; prints the
seconds."""
import errno
import random
import resource
import select
import socket
import sys
import time

BIND_ADDRESS_NO_PORT = 24
address, port, count, at_once = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
sources = sys.argv[5:]
family = socket.AF_INET6 if ":" in address else socket.AF_INET
limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
poll = select.epoll()
live = {}
opened = 0


class Client:
    def __init__(self, number):
        self.number = number
        self.message = random.randbytes(64)
        self.came = b""
        self.socket = socket.socket(family)
        self.socket.setblocking(False)
        self.socket.setsockopt(socket.IPPROTO_IP, BIND_ADDRESS_NO_PORT, 1)
        self.socket.bind((sources[number % len(sources)], 0))
        error = self.socket.connect_ex((address, port))
        assert error in (0, errno.EINPROGRESS), errno.errorcode[error]
        live[self.socket.fileno()] = self
        poll.register(self.socket, select.EPOLLOUT)

    def event(self):
        """Something happened to it. True when it is over."""
        error = self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        assert error == 0, f"connection {self.number}: {errno.errorcode[error]} with {len(self.came)} bytes echoed"
        if self.message:
            assert self.socket.send(self.message) == len(self.message)
            self.sent, self.message = self.message, None
            poll.modify(self.socket, select.EPOLLIN)
            return False
        piece = self.socket.recv(100)
        if len(self.came) == len(self.sent):
            assert piece == b"", "more than was sent"
            return self.end()
        assert piece, f"connection {self.number} is closed too early"
        self.came += piece
        if len(self.came) < len(self.sent):
            return False
        assert self.came == self.sent
        self.socket.shutdown(socket.SHUT_WR)
        return False

    def end(self):
        poll.unregister(self.socket)
        del live[self.socket.fileno()]
        self.socket.close()
        return True


began = time.monotonic()
while live or opened < count:
    while opened < count and len(live) < at_once:
        Client(opened)
        opened += 1
    events = poll.poll(30)
    assert events, f"nothing happens on {len(live)} connections, of {opened} opened"
    for number, _ in events:
        live[number].event()
print(f"{time.monotonic() - began:.2f}")
