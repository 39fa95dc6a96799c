"""Opens connections, one after another, exchanges a byte on each, and says so; closes those whose number is given with
`close=` when the peer closes, keeps the others. Ends with its stdin: ADDRESS PORT COUNT [close=N]."""
import socket
import sys
import threading

address, port, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
closing = [int(word[6:]) for word in sys.argv[4:] if word.startswith("close=")]
connections = []


def close_when_closed(connection):
    try:
        while connection.recv(1):
            pass
    except OSError:
        pass
    connection.close()


for number in range(count):
    connection = socket.create_connection((address, port), timeout=120)
    connection.sendall(b"x")
    assert connection.recv(1) == b"x"
    connection.settimeout(None)
    connections.append(connection)
    if number in closing:
        threading.Thread(target=close_when_closed, args=(connection,), daemon=True).start()
print("listening on nothing, holding", file=sys.stderr, flush=True)
for line in sys.stdin:
    # A line: exchange another byte on those kept.
    for number, connection in enumerate(connections):
        if number not in closing:
            connection.settimeout(120)
            connection.sendall(b"y")
            assert connection.recv(1) == b"y"
    print("echoed", flush=True)
