"""An echo server on the kernel's sockets for thousands of connections with short messages: ADDRESS PORT."""
import resource
import select
import socket
import sys

address, port = sys.argv[1], int(sys.argv[2])
limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
server = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
server.bind((address, port))
server.listen(65535)
server.setblocking(False)
poll = select.epoll()
poll.register(server, select.EPOLLIN)
clients = {}
print(f"listening on {address}:{port}", file=sys.stderr, flush=True)
while True:
    for number, _ in poll.poll():
        if number == server.fileno():
            try:
                while True:
                    client, _ = server.accept()
                    client.setblocking(False)
                    clients[client.fileno()] = client
                    poll.register(client, select.EPOLLIN)
            except BlockingIOError:
                continue
        client = clients[number]
        try:
            data = client.recv(4096)
            if data:
                assert client.send(data) == len(data)
                continue
        except ConnectionError:
            pass
        del clients[number]
        client.close()
