"""An echo server on the kernel's sockets that stands still once: ADDRESS PORT MESSAGES SECONDS. After so many messages of 64 bytes
it neither reads nor answers for so long. Then it is an echo server again."""
import socket
import sys
import time

address, port, messages, seconds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
server = socket.socket()
server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
server.bind((address, port))
server.listen(16)
print(f"listening on {address}:{port}", file=sys.stderr, flush=True)
client, _ = server.accept()
client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
echoed, stalled = 0, False
while data := client.recv(65536):
    if not stalled and echoed + len(data) > messages * 64:
        time.sleep(seconds)
        stalled = True
    client.sendall(data)
    echoed += len(data)
