"""A name server for the tests: brings up `lo` of a new network namespace, then answers on 127.0.0.1:53.

Every name below zemi.test is 127.0.0.1; there are no others. Prints a line when it listens.
"""

import fcntl
import socket
import struct

SIOCSIFFLAGS, IFF_UP, IFF_RUNNING = 0x8914, 0x1, 0x40
A, NXDOMAIN = 1, 3

server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
fcntl.ioctl(server, SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", IFF_UP | IFF_RUNNING))
server.bind(("127.0.0.1", 53))
print("listening", flush=True)
while True:
    query, peer = server.recvfrom(512)
    labels, at = [], 12
    while query[at]:
        labels.append(query[at + 1 : at + 1 + query[at]].lower())
        at += 1 + query[at]
    question = query[12 : at + 5]
    ours = labels[-2:] == [b"zemi", b"test"]
    answers = ours and struct.unpack("!H", query[at + 1 : at + 3])[0] == A
    flags = 0x8580 | (0 if ours else NXDOMAIN)
    reply = query[:2] + struct.pack("!HHHHH", flags, 1, int(answers), 0, 0) + question
    if answers:
        reply += struct.pack("!HHHIH4s", 0xC00C, A, 1, 60, 4, bytes([127, 0, 0, 1]))
    server.sendto(reply, peer)
