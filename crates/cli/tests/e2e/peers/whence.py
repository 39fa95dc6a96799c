"""Listens, echoes to one connection until its end, and says where it came from: ADDRESS PORT."""
import socket
import sys

address, port = sys.argv[1], int(sys.argv[2])
server = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
server.bind((address, port))
server.listen(1)
print("listening", flush=True)
client, remote = server.accept()
print(remote[0], flush=True)
while data := client.recv(65536):
    client.sendall(data)
