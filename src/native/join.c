/* Receive offload for packets of the extended edition: what the kernel's UDP_GRO is for datagrams, this is for the packets in
 * them. Of packets that are nothing but consecutive data, all but the first lose their headers, so that the core has one large
 * packet to handle instead of many small ones. docs/protocol.md has the format. */
#include "datagrams.h"

#include <arpa/inet.h>
#include <string.h>

enum {
  SEQUENCE_AT = 0,
  /* Verification tag and connection ID. */
  OWNER_AT = 4,
  OWNER_BYTES = 6,
  BITS_AT = 10,
  LENGTH_AT = 12,
  SHORTEST_PACKET = 14,
  TIME_AT = 14,
  TIME_BYTES = 4,
  DATA_HEADER_BYTES = 18,
};

/* The bits of a packet that is data and nothing else, and that which asks for an acknowledgement. */
enum { DATA_ONLY = 0x8200, PING = 0x0400 };
/* Marks a packet that others were joined to. It is ours: what comes with it has it taken off. */
enum { JOINED = 0x0008 };

/* Packets that were joined, and may be joined by the next. */
struct train {
  /* The first; NULL where there is none. */
  uint8_t* head;
  struct entry* row;
  /* Where its slot ends. */
  const uint8_t* limit;
  size_t length;
  /* The length of the first: the others are as long, but for the last, which may be shorter. */
  size_t segment_bytes;
  /* The sequence number that continues it. */
  uint32_t next;
  /* Whether what is in other slots may join it: not where something is before it that may make no sense to the reader, who
   * then forgets the rest of the slot. */
  bool leaves_slot;
};

static uint16_t read16(const uint8_t* at) {
  uint16_t value = 0;
  memcpy(&value, at, sizeof value);
  return ntohs(value);
}

static uint32_t read32(const uint8_t* at) {
  uint32_t value = 0;
  memcpy(&value, at, sizeof value);
  return ntohl(value);
}

static void write16(uint8_t* at, uint16_t value) {
  const uint16_t swapped = htons(value);
  memcpy(at, &swapped, sizeof swapped);
}

/* 0: there is no whole packet. */
static size_t packet_length(const uint8_t* packet, size_t room) {
  if (room < SHORTEST_PACKET) return 0;
  const size_t length = read16(packet + LENGTH_AT);
  return length < SHORTEST_PACKET || length > room ? 0 : length;
}

static bool is_data(const uint8_t* packet, size_t length) {
  return length > DATA_HEADER_BYTES && (read16(packet + BITS_AT) & ~PING) == DATA_ONLY;
}

static bool continues(const struct train* train, const uint8_t* packet, size_t length) {
  return train->head != NULL && length <= train->segment_bytes &&
         train->length + length - DATA_HEADER_BYTES <= LARGEST_DATAGRAM && read32(packet + SEQUENCE_AT) == train->next &&
         memcmp(train->head + OWNER_AT, packet + OWNER_AT, OWNER_BYTES) == 0 &&
         (train->row->segment_bytes == 0 || train->row->segment_bytes == (int32_t)train->segment_bytes);
}

static void begin(struct train* train, struct entry* row, const uint8_t* limit, uint8_t* packet, size_t length,
                  bool leaves_slot) {
  const uint32_t data_bytes = (uint32_t)(length - DATA_HEADER_BYTES);
  const bool asks = (read16(packet + BITS_AT) & PING) != 0;
  *train = (struct train){
      .head = asks ? NULL : packet,
      .row = row,
      .limit = limit,
      .length = length,
      .segment_bytes = length,
      .next = read32(packet + SEQUENCE_AT) + data_bytes,
      .leaves_slot = leaves_slot,
  };
}

/* The train is the last in its row, and there is room behind it. */
static void append(struct train* train, const uint8_t* packet, size_t length) {
  const uint16_t bits = read16(packet + BITS_AT);
  const size_t data_bytes = length - DATA_HEADER_BYTES;
  memcpy(train->head + TIME_AT, packet + TIME_AT, TIME_BYTES);
  memmove(train->head + train->length, packet + DATA_HEADER_BYTES, data_bytes);
  train->length += data_bytes;
  train->next += (uint32_t)data_bytes;
  write16(train->head + BITS_AT, bits | JOINED);
  write16(train->head + LENGTH_AT, (uint16_t)train->length);
  train->row->segment_bytes = (int32_t)train->segment_bytes;
  if (length < train->segment_bytes || (bits & PING) != 0) train->head = NULL;
}

/* Whether there is a train, which so many bytes more may be put behind. */
static bool reaches(const struct train* train, const struct entry* row, size_t more) {
  if (train->head == NULL) return false;
  if (train->row == row) return true;
  return train->leaves_slot && row->port == train->row->port &&
         train->length + more <= (size_t)(train->limit - train->head);
}

void join_packets(const struct batch* batch, uint8_t* room, int count) {
  struct entry* table = (struct entry*)room;
  struct train train = {.head = NULL};
  for (int index = 0; index < count; index++) {
    struct entry* row = &table[index];
    uint8_t* slot = batch->parts[index].iov_base;
    const uint8_t* limit = slot + batch->parts[index].iov_len;
    const uint8_t* end = slot + row->length;
    uint8_t* out = slot;
    bool only_data = true;
    row->segment_bytes = 0;
    if (row->new_addresses != 0) train.head = NULL;
    for (uint8_t* at = slot; at < end;) {
      const size_t length = packet_length(at, (size_t)(end - at));
      if (length > 0 && (read16(at + BITS_AT) & JOINED) != 0) write16(at + BITS_AT, read16(at + BITS_AT) & ~JOINED);
      const bool data = length > 0 && is_data(at, length);
      if (data && reaches(&train, row, length - DATA_HEADER_BYTES) && continues(&train, at, length)) {
        struct entry* joined = train.row;
        append(&train, at, length);
        if (joined == row) out += length - DATA_HEADER_BYTES;
        else joined->length += (int32_t)(length - DATA_HEADER_BYTES);
        at += length;
        continue;
      }
      /* What is no packet is left as it is, with all that is behind it. */
      const size_t kept = length > 0 ? length : (size_t)(end - at);
      memmove(out, at, kept);
      only_data &= data;
      if (data) begin(&train, row, limit, out, kept, only_data);
      else train.head = NULL;
      out += kept;
      at += kept;
    }
    row->length = (int32_t)(out - slot);
  }
}
