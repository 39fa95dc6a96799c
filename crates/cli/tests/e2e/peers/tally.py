"""A server of bytes that counts them: ADDRESS PORT FILE sink|source|mirror|spoil [BYTES]. sink reads to the end of the stream; source
sends BYTES of the text of RFC 864 and closes; mirror sends back what comes; spoil does, too, but for a byte. Says "listening on" on
stderr, and behind each connection in FILE how many bytes came and went."""
import socket
import sys
import threading

address, port, does = sys.argv[1], int(sys.argv[2]), sys.argv[4]
tally = open(sys.argv[3], "a", buffering=1)
rows = [bytes(32 + (first + column) % 95 for column in range(72)) + b"\r\n" for first in range(95)]
text = b"".join(rows)
listener = socket.create_server((address, port), backlog=4096)
print(f"listening on {address}:{port}", file=sys.stderr, flush=True)
lock = threading.Lock()


def source(connection):
    left, at = int(sys.argv[5]), 0
    while left > 0:
        piece = text[at:][:left]
        connection.sendall(piece)
        left, at = left - len(piece), (at + len(piece)) % len(text)
    connection.shutdown(socket.SHUT_WR)
    came = 0
    while data := connection.recv(1 << 20):
        came += len(data)
    return came, int(sys.argv[5])


def read(connection):
    came = went = 0
    while data := connection.recv(1 << 20):
        if does == "spoil" and came < 100_000 <= came + len(data):
            spoilt = bytearray(data)
            spoilt[100_000 - came - 1] ^= 1
            data = bytes(spoilt)
        came += len(data)
        if does != "sink":
            connection.sendall(data)
            went += len(data)
    return came, went


def serve(connection):
    with connection:
        came, went = source(connection) if does == "source" else read(connection)
    with lock:
        print(came, went, file=tally)


while True:
    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
