/* Reading and writing datagrams, many for each system call. Nothing here knows JavaScript. */
#ifndef CONFUNDO_DATAGRAMS_H
#define CONFUNDO_DATAGRAMS_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

/* Datagrams are read into slots of one room, each of which has room for the largest there is. It is a little more, so that
 * their beginnings do not meet in the same lines of the processor's cache. Before the slots is a table that says what is in
 * them. */
enum {
  SLOTS = 32,
  LARGEST_DATAGRAM = 65535,
  SLOT_BYTES = 65536 + 2048,
  TABLE_BYTES = 4096,
  ROOM_BYTES = TABLE_BYTES + SLOTS * SLOT_BYTES,
  /* So many slots at most may have memory of their own instead, which is handed over with what was read. */
  APART_SLOTS = 4,
};

union address {
  sa_family_t family;
  struct sockaddr any;
  struct sockaddr_in v4;
  struct sockaddr_in6 v6;
};

enum { NEW_SENDER = 1, NEW_LOCAL = 2 };

/* A row of the table. */
struct entry {
  int32_t length;
  /* The kernel has merged datagrams of so many bytes, the last of which may be shorter. 0: it is a single one.
   * After join_packets(), so of packets: they were so long before they were joined. 0: none were. */
  int32_t segment_bytes;
  int32_t port;
  /* NEW_SENDER: the address is another than that of the datagram before, or of the peer. NEW_LOCAL: the address of this
   * machine that it came to is another. */
  int32_t new_addresses;
  /* Whether it is not in the room but in memory of its own. */
  int32_t is_apart;
};
_Static_assert(SLOTS * sizeof(struct entry) <= TABLE_BYTES, "the table has its place");

/* What recvmmsg(2) needs beside the room. */
struct batch {
  struct mmsghdr messages[SLOTS];
  struct iovec parts[SLOTS];
  union address addresses[SLOTS];
  /* The addresses of this machine that they came to; of no family where the kernel does not say. */
  union address locals[SLOTS];
  union {
    char bytes[CMSG_SPACE(sizeof(int)) + CMSG_SPACE(sizeof(struct in6_pktinfo))];
    struct cmsghdr aligned;
  } controls[SLOTS];
  /* LARGEST_DATAGRAM bytes each, or NULL. */
  uint8_t* apart[APART_SLOTS];
};

struct datagram_socket {
  /* Below 0: not open. */
  int fd;
  sa_family_t family;
  /* Whether a burst may be handed over as one. */
  bool segments;
  /* How many slots the next read takes. */
  unsigned slots;
  /* Whether what is read is handed on whole: only then memory of its own is of use. */
  bool hands_over;
  /* Whether the last read brought such large ones that each is worth memory of its own. */
  bool reads_large;
  /* Whether the kernel refuses recvmmsg(2), or sendmmsg(2), as a seccomp filter may: recvmsg(2) and sendmsg(2) are used. */
  bool reads_singly;
  bool sends_singly;
  /* Who sent the last datagram, the peer at first. */
  union address sender;
  /* The address of this machine that it came to, where the socket is bound to all of them. */
  union address local;
};

enum { IPV6_ONLY = 1, REUSE_PORT = 2, REUSE_ADDRESS = 4 };

bool parse_address(const char* text, int port, union address* address);
socklen_t address_length(const union address* address);
int address_port(const union address* address);
/* Into INET6_ADDRSTRLEN + IF_NAMESIZE bytes: an address of a link has its interface's name behind it. */
void format_address(const union address* address, char* text);

/* These return 0 or more, or -1 with errno. */
int socket_bind(struct datagram_socket* socket, const union address* local, int flags);
int socket_connect(struct datagram_socket* socket, const union address* remote);
/* SO_REUSEPORT: whether other sockets may have the port that ask for it, too, and are the same user's. */
int socket_reuse(const struct datagram_socket* socket, bool reuse);
/* Whether the kernel lets this process read datagrams. No datagram is taken. -1 with errno where it does not. */
int socket_try_read(struct datagram_socket* socket);
/* How many datagrams, or merged ones, are in the room; 0 when there are none. */
int socket_read(struct datagram_socket* socket, struct batch* batch, uint8_t* room);
/* What was read is of the extended edition. Packets that are nothing but data, each of which continues the one before it,
 * become one, with the bits and the time of the last. Everything else stays as it is. Slots may end up empty. */
void join_packets(const struct batch* batch, uint8_t* room, int count);
/* How many bytes the kernel has taken, of datagrams of `segment_bytes`. `from` is the address of this machine that they leave
 * from, NULL or of no family for the kernel's choice. */
int64_t socket_send(struct datagram_socket* socket, const uint8_t* bytes, size_t length, size_t segment_bytes,
                    const union address* to, const union address* from);
/* The MTU of the route to the peer as the kernel knows it, ICMP's word included (IP_MTU of ip(7)); connected sockets only. */
int socket_mtu(const struct datagram_socket* socket);

#endif
