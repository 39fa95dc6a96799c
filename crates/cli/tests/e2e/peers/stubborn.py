"""Sends 96 KiB through a small receive buffer and half-closes without reading; reads all of it when its stdin ends:
ADDRESS PORT."""
import socket
import sys

connection = socket.socket()
connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
connection.settimeout(120)
connection.connect((sys.argv[1], int(sys.argv[2])))
message = bytes(range(256)) * 384
connection.sendall(message)
connection.shutdown(socket.SHUT_WR)
sys.stdin.read()
connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
came = bytearray()
while piece := connection.recv(65536):
    came += piece
assert came == message, f"{len(came)} bytes came"
print("right")
