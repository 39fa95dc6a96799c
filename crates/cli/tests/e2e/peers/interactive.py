"""Somebody types: a few bytes each 20 ms, each echoed before the next, for SECONDS: ADDRESS PORT SECONDS. Prints how many."""
import os
import socket
import sys
import time

address, port, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
connection = socket.create_connection((address, port), timeout=120)
connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
end, count = time.monotonic() + seconds, 0
while time.monotonic() < end:
    message = os.urandom(1 + count % 40)
    connection.sendall(message)
    came = b""
    while len(came) < len(message):
        piece = connection.recv(100)
        assert piece, "closed"
        came += piece
    assert came == message
    count += 1
    time.sleep(0.02)
print(count)
