"""Between sockperf and a plain echo server. sockperf's client drops an answer whose header still says that a client sent it
(14 bytes: 8 of sequence number, 2 of flags, 4 of length; flag 1 is "client"), and an echo says just that. This takes that
flag out of what comes back: LISTEN_PORT SERVER SERVER_PORT."""
import socket
import sys


def exactly(connection, count):
    data = b""
    while len(data) < count:
        piece = connection.recv(count - len(data))
        if not piece:
            sys.exit(0)
        data += piece
    return data


listener = socket.socket()
listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
listener.bind(("127.0.0.1", int(sys.argv[1])))
listener.listen(1)
print("listening on loopback", file=sys.stderr, flush=True)
client, _ = listener.accept()
server = socket.create_connection((sys.argv[2], int(sys.argv[3])))
for connection in (client, server):
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
while True:
    header = exactly(client, 14)
    message = header + exactly(client, int.from_bytes(header[10:], "big") - 14)
    server.sendall(message)
    answer = bytearray(exactly(server, len(message)))
    assert answer == message, "not what was sent"
    answer[9] &= ~1
    client.sendall(answer)
