#include "datagrams.h"

#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <netinet/udp.h>
#include <string.h>

#include "uv.h"

/* linux/udp.h, which older systems lack. */
#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif
#ifndef UDP_GRO
#define UDP_GRO 104
#endif
#ifndef SOL_UDP
#define SOL_UDP 17
#endif

enum {
  /* Asked of the kernel for every socket. It may give less: net.core.rmem_max and wmem_max are its limits. */
  SOCKET_BUFFER_BYTES = 4 * 1024 * 1024,
  /* UDP_MAX_SEGMENTS of Linux before 6.10, which has 128. */
  BURST_SEGMENTS = 64,
  /* A burst is one IP packet until it is split: 16 bits of length, less the longer headers, those of IPv6. */
  BURST_BYTES = 65535 - 48,
  /* So much is read at once: what stays in the processor's cache until it is used. Bursts that came merged are taken apart
   * by JavaScript, which takes longer than the copy: of those it is more, as one acknowledgement for all is less work. */
  READ_BYTES = 64 * 1024,
  READ_MERGED_BYTES = 256 * 1024,
  FIRST_SLOTS = 4,
  /* More than half of the memory that is handed over with it. */
  LARGE_BYTES = 32 * 1024,
};

static int set_option(int fd, int level, int option, int value) {
  return setsockopt(fd, level, option, &value, sizeof value);
}

bool parse_address(const char* text, int port, union address* address) {
  memset(address, 0, sizeof *address);
  return uv_ip4_addr(text, port, &address->v4) == 0 || uv_ip6_addr(text, port, &address->v6) == 0;
}

socklen_t address_length(const union address* address) {
  return address->family == AF_INET6 ? sizeof address->v6 : sizeof address->v4;
}

int address_port(const union address* address) {
  return ntohs(address->family == AF_INET6 ? address->v6.sin6_port : address->v4.sin_port);
}

void format_address(const union address* address, char* text) {
  text[0] = '\0';
  if (address->family == AF_INET) {
    inet_ntop(AF_INET, &address->v4.sin_addr, text, INET6_ADDRSTRLEN);
    return;
  }
  if (address->family != AF_INET6) return;
  inet_ntop(AF_INET6, &address->v6.sin6_addr, text, INET6_ADDRSTRLEN);
  char name[IF_NAMESIZE];
  if (!IN6_IS_ADDR_LINKLOCAL(&address->v6.sin6_addr) || if_indextoname(address->v6.sin6_scope_id, name) == NULL) return;
  strcat(strcat(text, "%"), name);
}

/* The port aside. */
static bool same_address(const union address* one, const union address* other) {
  if (one->family != other->family) return false;
  if (one->family == AF_INET) return one->v4.sin_addr.s_addr == other->v4.sin_addr.s_addr;
  return one->v6.sin6_scope_id == other->v6.sin6_scope_id &&
         memcmp(&one->v6.sin6_addr, &other->v6.sin6_addr, sizeof one->v6.sin6_addr) == 0;
}

int socket_bind(struct datagram_socket* opened, const union address* local, int flags) {
  const int fd = socket(local->family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return -1;
  opened->fd = fd;
  opened->family = local->family;
  opened->slots = FIRST_SLOTS;
  set_option(fd, SOL_SOCKET, SO_RCVBUF, SOCKET_BUFFER_BYTES);
  set_option(fd, SOL_SOCKET, SO_SNDBUF, SOCKET_BUFFER_BYTES);
  opened->segments = set_option(fd, SOL_UDP, UDP_SEGMENT, 0) == 0;
  /* An older kernel merges nothing. */
  set_option(fd, SOL_UDP, UDP_GRO, 1);
  if (local->family == AF_INET6 && set_option(fd, IPPROTO_IPV6, IPV6_V6ONLY, (flags & IPV6_ONLY) != 0) != 0) return -1;
  if ((flags & REUSE_PORT) != 0 && socket_reuse(opened, true) != 0) return -1;
  if ((flags & REUSE_ADDRESS) != 0 && set_option(fd, SOL_SOCKET, SO_REUSEADDR, true) != 0) return -1;
  /* Never fragment, and leave finding the path's MTU to us. An IPv6 socket speaks IPv4 too, to mapped addresses. */
  set_option(fd, IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_PROBE);
  if (local->family == AF_INET6) set_option(fd, IPPROTO_IPV6, IPV6_MTU_DISCOVER, IPV6_PMTUDISC_PROBE);
  /* What comes to one of several addresses is to be answered from that one (RFC 1122 section 4.1.3.5). */
  if (local->family == AF_INET && local->v4.sin_addr.s_addr == htonl(INADDR_ANY)) {
    set_option(fd, IPPROTO_IP, IP_PKTINFO, 1);
  } else if (local->family == AF_INET6 && IN6_IS_ADDR_UNSPECIFIED(&local->v6.sin6_addr)) {
    /* IPv4 is reported by it too, as mapped addresses. */
    set_option(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, 1);
  }
  return bind(fd, &local->any, address_length(local));
}

int socket_connect(struct datagram_socket* socket, const union address* remote) {
  if (connect(socket->fd, &remote->any, address_length(remote)) != 0) return -1;
  socket->sender = *remote;
  return 0;
}

int socket_mtu(const struct datagram_socket* socket) {
  int mtu = 0;
  socklen_t length = sizeof mtu;
  const bool is_v6 = socket->family == AF_INET6 && !IN6_IS_ADDR_V4MAPPED(&socket->sender.v6.sin6_addr);
  const int result = is_v6 ? getsockopt(socket->fd, IPPROTO_IPV6, IPV6_MTU, &mtu, &length)
                           : getsockopt(socket->fd, IPPROTO_IP, IP_MTU, &mtu, &length);
  return result < 0 ? -1 : mtu;
}

int socket_reuse(const struct datagram_socket* socket, bool reuse) {
  return set_option(socket->fd, SOL_SOCKET, SO_REUSEPORT, reuse);
}

static uint8_t* slot_of(uint8_t* room, unsigned slot) {
  return room + TABLE_BYTES + (size_t)slot * SLOT_BYTES;
}

static void prepare(const struct datagram_socket* socket, struct batch* batch, uint8_t* room) {
  for (unsigned slot = 0; slot < socket->slots; slot++) {
    uint8_t* apart = socket->reads_large && slot < APART_SLOTS ? batch->apart[slot] : NULL;
    batch->parts[slot].iov_base = apart != NULL ? apart : slot_of(room, slot);
    batch->parts[slot].iov_len = LARGEST_DATAGRAM;
    batch->messages[slot].msg_hdr = (struct msghdr){
        .msg_name = &batch->addresses[slot],
        .msg_namelen = sizeof batch->addresses[slot],
        .msg_iov = &batch->parts[slot],
        .msg_iovlen = 1,
        .msg_control = batch->controls[slot].bytes,
        .msg_controllen = sizeof batch->controls[slot].bytes,
    };
  }
}

/* What the kernel says of a datagram: how long those were that it merged, 0 for none, and where it came to. */
static int read_controls(struct msghdr* header, union address* local) {
  int segment_bytes = 0;
  local->family = AF_UNSPEC;
  for (struct cmsghdr* control = CMSG_FIRSTHDR(header); control != NULL; control = CMSG_NXTHDR(header, control)) {
    if (control->cmsg_level == SOL_UDP && control->cmsg_type == UDP_GRO) {
      memcpy(&segment_bytes, CMSG_DATA(control), sizeof segment_bytes);
    } else if (control->cmsg_level == IPPROTO_IP && control->cmsg_type == IP_PKTINFO) {
      struct in_pktinfo info;
      memcpy(&info, CMSG_DATA(control), sizeof info);
      /* Not the header's destination, which may be a broadcast address. */
      local->v4 = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr = info.ipi_spec_dst};
    } else if (control->cmsg_level == IPPROTO_IPV6 && control->cmsg_type == IPV6_PKTINFO) {
      struct in6_pktinfo info;
      memcpy(&info, CMSG_DATA(control), sizeof info);
      local->v6 = (struct sockaddr_in6){.sin6_family = AF_INET6, .sin6_addr = info.ipi6_addr};
      if (IN6_IS_ADDR_LINKLOCAL(&info.ipi6_addr)) local->v6.sin6_scope_id = info.ipi6_ifindex;
    }
  }
  return segment_bytes;
}

/* Whether a slot is in memory of its own; what takes little of that goes into the room after all. */
static bool stays_apart(struct iovec* part, uint8_t* room, unsigned slot, size_t length) {
  uint8_t* in_room = slot_of(room, slot);
  if (part->iov_base == in_room) return false;
  if (length >= LARGE_BYTES) return true;
  memcpy(in_room, part->iov_base, length);
  part->iov_base = in_room;
  return false;
}

/* A seccomp filter refuses a system call in one of these ways; ICMPv6 may be the reason for EACCES as well. */
static bool is_refused(int error) {
  return error == ENOSYS || error == EPERM || error == EACCES;
}

static int read_singly(struct datagram_socket* socket, struct mmsghdr* messages, unsigned most) {
  unsigned count = 0;
  while (count < most) {
    const ssize_t length = recvmsg(socket->fd, &messages[count].msg_hdr, MSG_DONTWAIT);
    if (length >= 0) messages[count++].msg_len = (unsigned)length;
    else if (errno != EINTR) break;
  }
  return count > 0 ? (int)count : -1;
}

/* As recvmmsg(2), which this is where the kernel allows it. */
static int read_messages(struct datagram_socket* socket, struct mmsghdr* messages, unsigned most) {
  while (!socket->reads_singly) {
    const int count = recvmmsg(socket->fd, messages, most, MSG_DONTWAIT, NULL);
    if (count >= 0) return count;
    if (is_refused(errno)) socket->reads_singly = true;
    else if (errno != EINTR) return -1;
  }
  return read_singly(socket, messages, most);
}

int socket_try_read(struct datagram_socket* socket) {
  char byte = 0;
  struct iovec part = {.iov_base = &byte, .iov_len = sizeof byte};
  struct mmsghdr message = {.msg_hdr = {.msg_iov = &part, .msg_iovlen = 1}};
  if (recvmmsg(socket->fd, &message, 1, MSG_DONTWAIT | MSG_PEEK, NULL) >= 0 || !is_refused(errno)) return 0;
  socket->reads_singly = true;
  return recvmsg(socket->fd, &message.msg_hdr, MSG_DONTWAIT | MSG_PEEK) >= 0 || !is_refused(errno) ? 0 : -1;
}

int socket_read(struct datagram_socket* socket, struct batch* batch, uint8_t* room) {
  prepare(socket, batch, room);
  const int count = read_messages(socket, batch->messages, socket->slots);
  if (count < 0) return errno == EAGAIN ? 0 : -1;
  struct entry* table = (struct entry*)room;
  size_t total = 0;
  bool merged = false;
  for (int slot = 0; slot < count; slot++) {
    struct mmsghdr* message = &batch->messages[slot];
    const union address* sender = &batch->addresses[slot];
    union address* local = &batch->locals[slot];
    const int segment_bytes = read_controls(&message->msg_hdr, local);
    const bool is_new = !same_address(sender, &socket->sender);
    const bool is_new_local = local->family != AF_UNSPEC && !same_address(local, &socket->local);
    table[slot] = (struct entry){
        .length = (int32_t)message->msg_len,
        .segment_bytes = segment_bytes,
        .port = address_port(sender),
        .new_addresses = (is_new ? NEW_SENDER : 0) | (is_new_local ? NEW_LOCAL : 0),
        .is_apart = stays_apart(&batch->parts[slot], room, (unsigned)slot, message->msg_len),
    };
    if (is_new) socket->sender = *sender;
    if (is_new_local) socket->local = *local;
    total += message->msg_len;
    merged |= table[slot].segment_bytes > 0;
  }
  if (count > 0) {
    const size_t average = total / (size_t)count + 1;
    const size_t fitting = (merged ? READ_MERGED_BYTES : READ_BYTES) / average;
    socket->slots = fitting < 1 ? 1 : fitting > SLOTS ? SLOTS : (unsigned)fitting;
    socket->reads_large = socket->hands_over && average > LARGE_BYTES;
  }
  return count;
}

/* Room for what is told with a datagram that is sent: where it leaves from, and the length of segments. */
union sent_controls {
  char bytes[CMSG_SPACE(sizeof(struct in6_pktinfo)) + CMSG_SPACE(sizeof(uint16_t))];
  struct cmsghdr aligned;
};

static void add_control(struct msghdr* header, union sent_controls* controls, int level, int type, const void* value,
                        size_t size) {
  struct cmsghdr* control = (struct cmsghdr*)(controls->bytes + header->msg_controllen);
  control->cmsg_level = level;
  control->cmsg_type = type;
  control->cmsg_len = CMSG_LEN(size);
  memcpy(CMSG_DATA(control), value, size);
  header->msg_control = controls->bytes;
  header->msg_controllen += CMSG_SPACE(size);
}

static void add_source(struct msghdr* header, union sent_controls* controls, const union address* from) {
  if (from->family == AF_INET) {
    const struct in_pktinfo info = {.ipi_spec_dst = from->v4.sin_addr};
    add_control(header, controls, IPPROTO_IP, IP_PKTINFO, &info, sizeof info);
  } else if (from->family == AF_INET6) {
    const struct in6_pktinfo info = {.ipi6_addr = from->v6.sin6_addr, .ipi6_ifindex = from->v6.sin6_scope_id};
    add_control(header, controls, IPPROTO_IPV6, IPV6_PKTINFO, &info, sizeof info);
  }
}

/* One system call for a burst, which the kernel or the network card takes apart. */
static int64_t send_segmented(int fd, struct msghdr* header, union sent_controls* controls, size_t length,
                              size_t segment_bytes) {
  size_t segments = BURST_BYTES / segment_bytes;
  if (segments > BURST_SEGMENTS) segments = BURST_SEGMENTS;
  if (segments == 0) segments = 1;
  if (length > segments * segment_bytes) length = segments * segment_bytes;
  header->msg_iov->iov_len = length;
  if (length > segment_bytes) {
    const uint16_t size = (uint16_t)segment_bytes;
    add_control(header, controls, SOL_UDP, UDP_SEGMENT, &size, sizeof size);
  }
  return sendmsg(fd, header, 0) < 0 ? -1 : (int64_t)length;
}

/* One system call for several datagrams; for one where the kernel refuses that. */
static int64_t send_apart(struct datagram_socket* socket, const struct msghdr* header, size_t length,
                          size_t segment_bytes) {
  struct mmsghdr messages[BURST_SEGMENTS];
  struct iovec parts[BURST_SEGMENTS];
  uint8_t* bytes = header->msg_iov->iov_base;
  unsigned count = 0;
  for (size_t at = 0; at < length && count < BURST_SEGMENTS; at += segment_bytes, count++) {
    const size_t rest = length - at;
    parts[count] = (struct iovec){.iov_base = bytes + at, .iov_len = rest < segment_bytes ? rest : segment_bytes};
    messages[count].msg_hdr = *header;
    messages[count].msg_hdr.msg_iov = &parts[count];
  }
  if (!socket->sends_singly) {
    const int sent = sendmmsg(socket->fd, messages, count, 0);
    if (sent >= 0) {
      const size_t taken = (size_t)sent * segment_bytes;
      return (int64_t)(taken < length ? taken : length);
    }
    /* EPERM and EACCES may be a firewall's word on these datagrams: then sendmsg(2) says so too. */
    if (!is_refused(errno)) return -1;
  }
  const ssize_t sent = sendmsg(socket->fd, &messages[0].msg_hdr, 0);
  if (sent < 0) return -1;
  socket->sends_singly = true;
  return (int64_t)parts[0].iov_len;
}

int64_t socket_send(struct datagram_socket* socket, const uint8_t* bytes, size_t length, size_t segment_bytes,
                    const union address* to, const union address* from) {
  size_t at = 0;
  while (at < length) {
    struct iovec part = {.iov_base = (uint8_t*)(uintptr_t)(bytes + at), .iov_len = length - at};
    union address name;
    union sent_controls controls = {{0}};
    struct msghdr header = {.msg_iov = &part, .msg_iovlen = 1};
    if (to != NULL) {
      name = *to;
      header.msg_name = &name;
      header.msg_namelen = address_length(to);
    }
    if (from != NULL) add_source(&header, &controls, from);
    const int64_t taken = socket->segments
                              ? send_segmented(socket->fd, &header, &controls, length - at, segment_bytes)
                              : send_apart(socket, &header, length - at, segment_bytes);
    if (taken > 0) at += (size_t)taken;
    else if (errno != EINTR) return at > 0 ? (int64_t)at : -1;
  }
  return (int64_t)at;
}
