"""COUNT connections at once, each with messages of several sizes echoed and compared: ADDRESS PORT COUNT."""
import os
import socket
import sys

address, port, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
connections = [socket.create_connection((address, port), timeout=120) for _ in range(count)]
for size in (1, 3, 64, 1460, 1461, 20000):
    messages = [os.urandom(size) for _ in connections]
    for connection, message in zip(connections, messages):
        connection.sendall(message)
    for connection, message in zip(connections, messages):
        came = b""
        while len(came) < size:
            piece = connection.recv(size - len(came))
            assert piece, "closed too early"
            came += piece
        assert came == message
for connection in connections[::2]:
    connection.shutdown(socket.SHUT_WR)
for connection in connections[::2]:
    assert connection.recv(1) == b"", "more than was sent"
for connection in connections:
    connection.close()
print("right")
