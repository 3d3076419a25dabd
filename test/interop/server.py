"""A student's server of the classic protocol (FIU 2023): server.py DIR [COUNT]; prints its port, ends after COUNT files"""

import os
import socket
import struct
import sys

MODULUS, ISN = 50001, 4321
ACK, SYN, FIN = 4, 2, 1
HEADER = struct.Struct("!IIHH")


def main():
    directory, count = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 1
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))
    print(sock.getsockname()[1], flush=True)
    clients = {}  # address -> [id, expected sequence number, file, whether the FIN has come]
    closed = 0
    while closed < count:
        packet, address = sock.recvfrom(2048)
        if len(packet) < 12:
            continue
        sequence, _, connection, flags = HEADER.unpack(packet[:12])
        if flags & SYN:
            if address not in clients:
                number = len(clients) + 1
                file = open(os.path.join(directory, f"{number}.file"), "wb")
                clients[address] = [number, (sequence + 1) % MODULUS, file, False]
            number, expected, _, _ = clients[address]
            sock.sendto(HEADER.pack(ISN, expected, number, SYN | ACK), address)
            continue
        client = clients.get(address)
        if client is None or client[0] != connection:
            continue
        if flags & FIN:
            if sequence == client[1] and not client[3]:
                client[1], client[3] = (client[1] + 1) % MODULUS, True
                client[2].close()
            answer = FIN | ACK if client[3] else ACK
            sock.sendto(HEADER.pack((ISN + 1) % MODULUS, client[1], client[0], answer), address)
        elif client[3]:
            if flags == ACK:
                closed += 1
        elif len(packet) > 12:
            if sequence == client[1]:
                client[2].write(packet[12:])
                client[1] = (client[1] + len(packet) - 12) % MODULUS
            sock.sendto(HEADER.pack((ISN + 1) % MODULUS, client[1], client[0], ACK), address)


main()
