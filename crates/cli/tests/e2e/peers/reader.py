"""Connects from SOURCE and reads BYTES for each line of its stdin, and says so: ADDRESS PORT SOURCE BYTES."""
import socket
import sys

address, port, source, count = sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4])
connection = socket.create_connection((address, port), timeout=120, source_address=(source, 0))
print("connected", flush=True)
for line in sys.stdin:
    left = count
    while left:
        piece = connection.recv(min(left, 1 << 20))
        assert piece, "closed"
        left -= len(piece)
    print("read", flush=True)
