"""An echo server on the kernel's sockets: ADDRESS PORT. With a third argument it reads and never answers."""
import socket
import sys
import threading


def serve(client, silent):
    try:
        while data := client.recv(65536):
            if not silent:
                client.sendall(data)
    except OSError:
        pass
    client.close()


address, port = sys.argv[1], int(sys.argv[2])
family = socket.AF_INET6 if ":" in address else socket.AF_INET
server = socket.socket(family)
server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
server.bind((address, port))
server.listen(512)
print(f"listening on {address}:{port}", file=sys.stderr, flush=True)
while True:
    client, _ = server.accept()
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    threading.Thread(target=serve, args=(client, len(sys.argv) > 3), daemon=True).start()
