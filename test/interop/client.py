"""A student's client of the classic protocol (FIU 2023): client.py HOST PORT FILE"""

import socket
import struct
import sys
import time

MSS, MODULUS, ISN = 412, 50001, 50000
ACK, SYN, FIN = 4, 2, 1
HEADER = struct.Struct("!IIHH")


def main():
    host, port, path = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    with open(path, "rb") as file:
        data = file.read()
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.connect((host, port))
    sock.settimeout(0.5)

    def receive(deadline):
        """The next packet, or None after the timeout."""
        try:
            packet = sock.recv(2048)
        except (socket.timeout, ConnectionRefusedError):
            if time.monotonic() > deadline:
                sys.exit("ERROR: 10 s of silence")
            return None
        return HEADER.unpack(packet[:12])

    deadline = time.monotonic() + 10
    answer = None
    while answer is None or answer[3] & (SYN | ACK) != SYN | ACK:
        sock.send(HEADER.pack(ISN, 0, 0, SYN))
        answer = receive(deadline)
    server_next, connection = (answer[0] + 1) % MODULUS, answer[2]
    sock.send(HEADER.pack((ISN + 1) % MODULUS, server_next, connection, ACK))

    acked, sent, highest, cwnd, ssthresh = 0, 0, 0, MSS, 12000
    deadline = time.monotonic() + 10
    while acked < len(data):
        while sent < len(data):
            segment = data[sent : sent + MSS]
            if sent - acked + len(segment) > cwnd:
                break
            sock.send(HEADER.pack((ISN + 1 + sent) % MODULUS, 0, connection, 0) + segment)
            sent += len(segment)
            highest = max(highest, sent)
        packet = receive(deadline)
        if packet is None:
            ssthresh, cwnd, sent = cwnd // 2, MSS, acked
            continue
        deadline = time.monotonic() + 10
        forward = (packet[1] - (ISN + 1 + acked)) % MODULUS
        if packet[3] == ACK and 0 < forward <= highest - acked:
            acked += forward
            sent = max(sent, acked)
            cwnd = min(cwnd + (MSS if cwnd < ssthresh else MSS * MSS // cwnd), MODULUS // 2)

    fin = (ISN + 1 + len(data)) % MODULUS
    answered = False
    deadline = time.monotonic() + 10
    while not answered:
        sock.send(HEADER.pack(fin, 0, connection, FIN))
        packet = receive(deadline)
        while packet is not None and not answered:
            if packet[3] & FIN:
                sock.send(HEADER.pack((fin + 1) % MODULUS, (packet[0] + 1) % MODULUS, connection, ACK))
            answered = packet[3] & ACK != 0 and packet[1] == (fin + 1) % MODULUS
            if not answered:
                packet = receive(deadline)
    print(len(data), "bytes sent")


main()
