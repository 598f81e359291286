#!/usr/bin/env python3
"""Start programs on the emulated peers for mpirun, which knows only remote shells.

agent.py serve                 on every peer: run what clients ask for, hand over its output, until the connection ends
agent.py HOST COMMAND...       mpirun's plm_rsh_agent: run COMMAND on HOST; the command `quit` ends the server

Nobody is authenticated: only peers of one emulated network reach this port, and only while `longhaul exec` runs.
"""
import json
import os
import socket
import subprocess
import sys
import threading

PORT = 2222


def handle(connection):
    with connection, connection.makefile("rb") as lines:
        line = lines.readline()
        if not line:
            return
        if json.loads(line) == "quit":
            os._exit(0)
        child = subprocess.Popen(["sh", "-c", json.loads(line)], stdin=subprocess.DEVNULL, stdout=connection.fileno(),
                                 stderr=connection.fileno(), start_new_session=True)
        child.wait()


def serve():
    listener = socket.create_server((os.environ["LONGHAUL_ADDRESS"], PORT), backlog=64)
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=handle, args=(connection,), daemon=True).start()


def call(host, words):
    with socket.create_connection((host, PORT), timeout=30) as connection:
        connection.settimeout(None)
        connection.sendall(json.dumps(" ".join(words)).encode() + b"\n")
        while True:
            data = connection.recv(65536)
            if not data:
                return 0
            sys.stdout.buffer.write(data)
            sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(serve() if sys.argv[1:] == ["serve"] else call(sys.argv[1], sys.argv[2:]))
