"""A server of HTTP/1.1 on the kernel's sockets that stands still now and then: ADDRESS PORT REQUESTS SECONDS [TIMES]. Behind every
so many requests, over all connections, it neither accepts nor reads nor answers for so long; once, or as often as is said.
Connections are kept."""
import selectors
import socket
import sys
import time

address, port, every, seconds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
times = int(sys.argv[5]) if len(sys.argv) > 5 else 1
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nyes"
server = socket.create_server((address, port), backlog=4096)
selector = selectors.DefaultSelector()
selector.register(server, selectors.EVENT_READ)
print(f"listening on {address}:{port}", file=sys.stderr, flush=True)
begun, answered = {}, 0
while True:
    for key, _ in selector.select():
        if key.fileobj is server:
            client, _ = server.accept()
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            selector.register(client, selectors.EVENT_READ)
            begun[client] = b""
            continue
        client = key.fileobj
        try:
            data = client.recv(65536)
        except ConnectionError:
            data = b""
        if not data:
            selector.unregister(client)
            del begun[client]
            client.close()
            continue
        *whole, begun[client] = (begun[client] + data).split(b"\r\n\r\n")
        for _ in whole:
            if times > 0 and answered and answered % every == 0:
                time.sleep(seconds)
                times -= 1
            answered += 1
            client.sendall(ANSWER)
