"""Sends MIB mebibytes while it reads, half-closes, and compares SHA-256: ADDRESS PORT MIB. Prints bytes and Gbit/s."""
import hashlib
import os
import socket
import sys
import threading
import time

address, port, mib = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
connection = socket.create_connection((address, port), timeout=60)
block = os.urandom(1 << 20)
sent, came = hashlib.sha256(), hashlib.sha256()
failures = []


def send():
    try:
        for turn in range(mib):
            # No two pieces alike, so that a lost or doubled one is seen.
            piece = turn.to_bytes(4, "big") + block[4:]
            sent.update(piece)
            connection.sendall(piece)
        connection.shutdown(socket.SHUT_WR)
    except OSError as error:
        failures.append(error)


began = time.monotonic()
sender = threading.Thread(target=send)
sender.start()
print("sending", file=sys.stderr, flush=True)
buffer, total = bytearray(1 << 20), 0
try:
    while count := connection.recv_into(buffer):
        came.update(memoryview(buffer)[:count])
        total += count
except OSError as error:
    failures.append(error)
sender.join()
took = time.monotonic() - began
print(f"{total} bytes in {took:.2f} s, {total * 8 / took / 1e9:.2f} Gbit/s each way {failures}")
sys.exit(0 if not failures and total == mib << 20 and sent.digest() == came.digest() else 1)
