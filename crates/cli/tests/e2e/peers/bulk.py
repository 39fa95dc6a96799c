"""Sends MIB mebibytes while it reads, or as many as there is time for until its stdin ends, half-closes, and compares SHA-256:
ADDRESS PORT MIB|until. Says "sending" when the first mebibyte has come back. Prints bytes and Gbit/s."""
import hashlib
import itertools
import os
import socket
import sys
import threading
import time

address, port, mib = sys.argv[1], int(sys.argv[2]), sys.argv[3]
connection = socket.create_connection((address, port), timeout=120)
block = os.urandom(1 << 20)
sent, came = hashlib.sha256(), hashlib.sha256()
failures, pieces = [], 0
enough = threading.Event()
turns = itertools.count() if mib == "until" else range(int(mib))


def wait():
    # Not through sys.stdin, whose lock would be held at the end.
    while os.read(0, 100):
        pass
    enough.set()


if mib == "until":
    threading.Thread(target=wait, daemon=True).start()


def send():
    global pieces
    try:
        for turn in turns:
            if enough.is_set():
                break
            # No two pieces alike, so that a lost or doubled one is seen.
            piece = turn.to_bytes(4, "big") + block[4:]
            sent.update(piece)
            pieces = turn + 1
            connection.sendall(piece)
        connection.shutdown(socket.SHUT_WR)
    except OSError as error:
        failures.append(error)


began = time.monotonic()
sender = threading.Thread(target=send)
sender.start()
buffer, total, said = bytearray(1 << 20), 0, False
try:
    while count := connection.recv_into(buffer):
        came.update(memoryview(buffer)[:count])
        total += count
        if not said and total >= 1 << 20:
            said = True
            print("sending", file=sys.stderr, flush=True)
except OSError as error:
    failures.append(error)
sender.join()
took = time.monotonic() - began
print(f"{total} bytes in {took:.2f} s, {total * 8 / took / 1e9:.2f} Gbit/s each way {failures}")
sys.exit(0 if not failures and total == pieces << 20 and sent.digest() == came.digest() else 1)
