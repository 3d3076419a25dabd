/*
 * linkbox NAMESPACE_A NAMESPACE_B
 *
 * Joins two network namespaces by a link whose properties and faults can be changed while it runs. Each namespace gets a TUN
 * device tl0: 10.77.0.1/24 and fd77::1/64 in A, 10.77.0.2/24 and fd77::2/64 in B; 10.78.0.0/16 and 10.79.0.0/16 are routed over
 * it from both. It prints {"up":1} when the link is there, reads commands from its standard input, one a line, and ends with it
 * or with SIGTERM.
 *
 *   DIRECTION KEY VALUE        DIRECTION: 0 = A to B, 1 = B to A, 2 = both
 *
 *   rate Mbit/s                bottleneck; 0: none             queue bytes       drop-tail queue in front of it
 *   delay ms                   one way                         mtu bytes         longer IP packets vanish
 *   loss %                     at random, before the queue     udpmtu bytes      longer UDP packets vanish
 *   smallloss %                of IP packets below 200 bytes   bigloss %         of the others
 *   burst ms, burstn packets   so many are lost, so often      down 1            nothing passes
 *   reorder %, extra ms        so many come so much later      dup %             so many come twice
 *   corrupt %                  one bit of the payload flipped, with a checksum that fits
 *   police Mbit/s, policeburst bytes                           a policer: a token bucket without a queue
 *   nat 1                      A's UDP port is translated      natnew 1          to another port from now on
 *   ecn 1                      clears the ECN field            seed N            of what is random
 *   stat 0                     prints one line of JSON a direction and begins to count again
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#define MAX_PACKETS 65536
#define PACKET_BYTES 1600
#define SMALL_BYTES 200
#define HISTOGRAM 64
#define HISTOGRAM_MS 5
#define UDP 17

typedef struct {
  int length;
  int64_t due;
  uint64_t order;
  uint8_t bytes[PACKET_BYTES];
} Packet;

/* One direction. Times are nanoseconds, rates bytes a second. */
typedef struct {
  int out;
  double rate, delay, loss, small_loss, big_loss, reorder, extra, dup, corrupt;
  double police, police_burst, burst, burst_packets;
  int64_t queue_bytes;
  int mtu, udp_mtu, down, bleach_ecn;
  /* What is on its way, a heap by the time when it arrives. */
  int *heap, count;
  int64_t busy_until, tokens_at, next_burst_at;
  double tokens;
  int burst_left;
  struct {
    uint64_t forwarded, queue_drops, random_losses, police_drops, mtu_drops, bytes, queued;
    double queue_sum;
    int64_t queue_most;
    uint64_t histogram[HISTOGRAM];
  } stat;
} Direction;

static Packet *packets;
static int *free_list, free_count;
static uint64_t packet_order;
static Direction directions[2];
static volatile sig_atomic_t stopped;
static int nat, nat_port = 30000, nat_original;

static uint64_t random_state = 88172645463325252ull;
static uint64_t next_random(void) {
  random_state ^= random_state << 13;
  random_state ^= random_state >> 7;
  random_state ^= random_state << 17;
  return random_state;
}
static int chance(double percent) {
  return percent > 0 && (next_random() >> 11) * (1.0 / 9007199254740992.0) * 100 < percent;
}

static int64_t now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1000000000ll + t.tv_nsec;
}
static void on_signal(int number) {
  (void)number;
  stopped = 1;
}

/* ---- the heap of what is on its way ---- */

static int before(int a, int b) {
  const Packet *p = &packets[a], *q = &packets[b];
  return p->due < q->due || (p->due == q->due && p->order < q->order);
}
static void push(Direction *d, int packet) {
  int i = d->count++;
  for (int parent; i > 0 && before(packet, d->heap[parent = (i - 1) / 2]); i = parent) d->heap[i] = d->heap[parent];
  d->heap[i] = packet;
}
static int pop(Direction *d) {
  int first = d->heap[0], last = d->heap[--d->count], i = 0;
  for (;;) {
    int child = 2 * i + 1;
    if (child >= d->count) break;
    if (child + 1 < d->count && before(d->heap[child + 1], d->heap[child])) child++;
    if (!before(d->heap[child], last)) break;
    d->heap[i] = d->heap[child];
    i = child;
  }
  d->heap[i] = last;
  return first;
}

/* ---- checksums (RFC 1624) ---- */

static uint16_t get16(const uint8_t *at) { return (uint16_t)(at[0] << 8 | at[1]); }
static void put16(uint8_t *at, unsigned value) {
  at[0] = (uint8_t)(value >> 8);
  at[1] = (uint8_t)value;
}
static void adjust_checksum(uint8_t *checksum, uint16_t old_word, uint16_t new_word) {
  uint16_t was = get16(checksum);
  if (was == 0) return; /* UDP without one */
  uint32_t sum = (uint16_t)~was + (uint16_t)~old_word + new_word;
  while (sum >> 16) sum = (sum & 0xffff) + (sum >> 16);
  uint16_t is = (uint16_t)~sum;
  put16(checksum, is == 0 ? 0xffff : is);
}

/* ---- commands ---- */

static void print_stat(int index, Direction *d) {
  uint64_t seen = 0, total = d->stat.queued;
  int median = 0, p95 = 0;
  for (int i = 0; i < HISTOGRAM; i++) {
    if (seen * 2 < total) median = i;
    if (seen * 100 < total * 95) p95 = i;
    seen += d->stat.histogram[i];
  }
  printf("{\"dir\":%d,\"fw\":%lu,\"qdrop\":%lu,\"rloss\":%lu,\"police\":%lu,\"mtudrop\":%lu,\"bytes\":%lu,"
         "\"qmeanMs\":%.1f,\"qmaxMs\":%.1f,\"q50\":%d,\"q95\":%d}\n",
         index, d->stat.forwarded, d->stat.queue_drops, d->stat.random_losses, d->stat.police_drops, d->stat.mtu_drops,
         d->stat.bytes, total > 0 ? d->stat.queue_sum / total / 1e6 : 0, d->stat.queue_most / 1e6, median * HISTOGRAM_MS,
         p95 * HISTOGRAM_MS);
  fflush(stdout);
  memset(&d->stat, 0, sizeof d->stat);
}

/* What waits for the line goes on at the new rate; what has left it arrives as it would have. */
static void change_rate(Direction *d, double old, int64_t t) {
  double factor = old > 0 && d->rate > 0 ? old / d->rate : 0;
  int64_t delay = (int64_t)d->delay;
  if (d->busy_until > t) d->busy_until = t + (int64_t)((d->busy_until - t) * factor);
  int count = d->count;
  d->count = 0;
  for (int i = 0; i < count; i++) {
    int packet = d->heap[i];
    int64_t waits = packets[packet].due - delay - t;
    if (waits > 0) packets[packet].due = t + (int64_t)(waits * factor) + delay;
    push(d, packet);
  }
}

static void set(Direction *d, const char *key, double value) {
#define KEY(name) (strcmp(key, name) == 0)
  if (KEY("rate")) {
    double old = d->rate;
    d->rate = value * 1e6 / 8;
    change_rate(d, old, now_ns());
  } else if (KEY("delay")) d->delay = value * 1e6;
  else if (KEY("loss")) d->loss = value;
  else if (KEY("smallloss")) d->small_loss = value;
  else if (KEY("bigloss")) d->big_loss = value;
  else if (KEY("queue")) d->queue_bytes = (int64_t)value;
  else if (KEY("mtu")) d->mtu = (int)value;
  else if (KEY("udpmtu")) d->udp_mtu = (int)value;
  else if (KEY("reorder")) d->reorder = value;
  else if (KEY("extra")) d->extra = value * 1e6;
  else if (KEY("dup")) d->dup = value;
  else if (KEY("corrupt")) d->corrupt = value;
  else if (KEY("burst")) d->burst = value * 1e6;
  else if (KEY("burstn")) d->burst_packets = value;
  else if (KEY("police")) d->police = value * 1e6 / 8;
  else if (KEY("policeburst")) d->police_burst = value;
  else if (KEY("down")) d->down = (int)value;
  else if (KEY("ecn")) d->bleach_ecn = (int)value;
#undef KEY
}

static void run_command(const char *line) {
  int which;
  char key[32];
  double value;
  if (sscanf(line, "%d %31s %lf", &which, key, &value) != 3) return;
  if (strcmp(key, "seed") == 0) random_state ^= (uint64_t)value * 0x9E3779B97F4A7C15ull;
  else if (strcmp(key, "nat") == 0) nat = (int)value;
  else if (strcmp(key, "natnew") == 0) nat_port++;
  else {
    for (int i = 0; i < 2; i++) {
      if (which != 2 && which != i) continue;
      if (strcmp(key, "stat") == 0) print_stat(i, &directions[i]);
      else set(&directions[i], key, value);
    }
  }
}

/* ---- what happens to a packet ---- */

/* Whether it gets past everything in front of the queue. Counts what does not. */
static int passes(Direction *d, const Packet *p, int is_udp, int64_t t) {
  int length = p->length;
  if (d->down) return d->stat.random_losses++, 0;
  if ((d->mtu && length > d->mtu) || (d->udp_mtu && is_udp && length > d->udp_mtu)) return d->stat.mtu_drops++, 0;
  if (chance(d->loss) || chance(length < SMALL_BYTES ? d->small_loss : d->big_loss)) return d->stat.random_losses++, 0;
  if (d->burst > 0) {
    if (t >= d->next_burst_at) {
      d->next_burst_at = t + (int64_t)d->burst;
      d->burst_left = (int)d->burst_packets;
    }
    if (d->burst_left > 0) return d->burst_left--, d->stat.random_losses++, 0;
  }
  if (d->police > 0) {
    d->tokens += (t - d->tokens_at) / 1e9 * d->police;
    d->tokens_at = t;
    if (d->tokens > d->police_burst) d->tokens = d->police_burst;
    if (d->tokens < length) return d->stat.police_drops++, 0;
    d->tokens -= length;
  }
  return 1;
}

/* Translates A's UDP port, as a NAT that keeps one mapping. 0: there is no such mapping. */
static int translate(int from_a, uint8_t *udp) {
  if (from_a) {
    nat_original = get16(udp);
    put16(udp, (unsigned)nat_port);
    adjust_checksum(udp + 6, (uint16_t)nat_original, (uint16_t)nat_port);
    return 1;
  }
  uint16_t to = get16(udp + 2);
  if (to != nat_port) return 0;
  put16(udp + 2, (unsigned)nat_original);
  adjust_checksum(udp + 6, to, (uint16_t)nat_original);
  return 1;
}

/* Flips a bit behind the first bytes of the payload, so that no checksum finds it. */
static void flip(uint8_t *udp, int payload_end) {
  int at = (8 + 40 + (int)(next_random() % (uint64_t)(payload_end - 50))) & ~1;
  uint16_t was = get16(udp + at);
  udp[at] ^= (uint8_t)(1 << (next_random() & 7));
  adjust_checksum(udp + 6, was, get16(udp + at));
}

/* Puts a packet on its way. 0: it is lost. */
static int carry(int index, int packet, int64_t t) {
  Direction *d = &directions[index];
  Packet *p = &packets[packet];
  uint8_t *ip = p->bytes;
  int version = ip[0] >> 4;
  int is_udp = (version == 4 ? ip[9] : ip[6]) == UDP;
  int header = version == 4 ? (ip[0] & 15) * 4 : 40;
  if (!passes(d, p, is_udp, t)) return 0;
  if (d->bleach_ecn && version == 4) {
    uint16_t was = get16(ip);
    ip[1] &= 0xfc;
    adjust_checksum(ip + 10, was, get16(ip));
  }
  if (is_udp && version == 4 && nat && !translate(index == 0, ip + header)) return d->stat.random_losses++, 0;
  if (is_udp && p->length > header + 60 && chance(d->corrupt)) flip(ip + header, p->length - header);

  int64_t starts_at = d->busy_until > t ? d->busy_until : t, waits = starts_at - t;
  int bucket = (int)(waits / (HISTOGRAM_MS * 1000000ll));
  d->stat.queue_sum += waits;
  d->stat.queued++;
  if (waits > d->stat.queue_most) d->stat.queue_most = waits;
  d->stat.histogram[bucket < HISTOGRAM ? bucket : HISTOGRAM - 1]++;
  if (d->rate > 0) {
    if (waits * d->rate / 1e9 > d->queue_bytes) return d->stat.queue_drops++, 0;
    d->busy_until = starts_at + (int64_t)(p->length / d->rate * 1e9);
  } else d->busy_until = t;
  p->due = d->busy_until + (int64_t)(d->delay + (chance(d->reorder) ? d->extra : 0));
  p->order = packet_order++;
  push(d, packet);
  if (chance(d->dup) && free_count > 4) {
    int twin = free_list[--free_count];
    packets[twin] = *p;
    packets[twin].due += 1000000;
    packets[twin].order = packet_order++;
    push(d, twin);
  }
  return 1;
}

/* ---- set-up and the loop ---- */

static int make_device(const char *space, int self) {
  char text[512];
  snprintf(text, sizeof text, "/var/run/netns/%s", space);
  int fd = open(text, O_RDONLY);
  if (fd < 0 || setns(fd, CLONE_NEWNET) != 0) {
    perror(space);
    exit(1);
  }
  close(fd);
  int tun = open("/dev/net/tun", O_RDWR | O_NONBLOCK);
  struct ifreq request = {.ifr_flags = IFF_TUN | IFF_NO_PI};
  strcpy(request.ifr_name, "tl0");
  if (tun < 0 || ioctl(tun, TUNSETIFF, &request) != 0) {
    perror("/dev/net/tun");
    exit(1);
  }
  snprintf(text, sizeof text,
           "ip link set lo up; ip addr add 10.77.0.%d/24 dev tl0; ip -6 addr add fd77::%d/64 dev tl0 nodad; "
           "ip link set tl0 mtu 1500 txqueuelen 10000 up; ip route add 10.78.0.0/16 dev tl0; ip route add 10.79.0.0/16 dev tl0",
           self, self);
  if (system(text) != 0) exit(1);
  return tun;
}

static void read_commands(void) {
  static char buffer[4096];
  static size_t length;
  ssize_t got = read(0, buffer + length, sizeof buffer - 1 - length);
  if (got == 0) stopped = 1;
  if (got <= 0) return;
  length += (size_t)got;
  buffer[length] = 0;
  for (char *end; (end = strchr(buffer, '\n')) != NULL;) {
    *end = 0;
    run_command(buffer);
    length -= (size_t)(end + 1 - buffer);
    memmove(buffer, end + 1, length + 1);
  }
}

int main(int count, char **arguments) {
  if (count != 3) return fprintf(stderr, "usage: linkbox NAMESPACE_A NAMESPACE_B\n"), 2;
  prctl(PR_SET_TIMERSLACK, 1000);
  signal(SIGTERM, on_signal);
  signal(SIGINT, on_signal);
  packets = calloc(MAX_PACKETS, sizeof *packets);
  free_list = malloc(MAX_PACKETS * sizeof *free_list);
  for (int i = 0; i < MAX_PACKETS; i++) free_list[free_count++] = i;
  for (int i = 0; i < 20; i++) next_random();
  int in[2] = {make_device(arguments[1], 1), make_device(arguments[2], 2)};
  for (int i = 0; i < 2; i++) {
    directions[i].out = in[1 - i];
    directions[i].heap = malloc(MAX_PACKETS * sizeof *directions[i].heap);
    directions[i].queue_bytes = 1 << 20;
    directions[i].tokens_at = now_ns();
  }
  fcntl(0, F_SETFL, O_NONBLOCK);
  printf("{\"up\":1}\n");
  fflush(stdout);
  while (!stopped) {
    int64_t t = now_ns(), next = INT64_MAX;
    int busy = 0;
    read_commands();
    for (int i = 0; i < 2; i++) {
      Direction *d = &directions[i];
      for (int n = 0; n < 64 && free_count > 8; n++) {
        int packet = free_list[free_count - 1];
        ssize_t length = read(in[i], packets[packet].bytes, PACKET_BYTES);
        if (length <= 0) break;
        free_count--;
        busy = 1;
        packets[packet].length = (int)length;
        if (!carry(i, packet, t)) free_list[free_count++] = packet;
      }
      while (d->count > 0) {
        Packet *p = &packets[d->heap[0]];
        if (p->due > t) {
          if (p->due < next) next = p->due;
          break;
        }
        if (write(d->out, p->bytes, (size_t)p->length) > 0) {
          d->stat.forwarded++;
          d->stat.bytes += (uint64_t)p->length;
        }
        free_list[free_count++] = pop(d);
        busy = 1;
      }
    }
    if (busy) continue;
    struct pollfd fds[3] = {{in[0], POLLIN, 0}, {in[1], POLLIN, 0}, {0, POLLIN, 0}};
    struct timespec wait, *until = NULL;
    if (next != INT64_MAX) {
      int64_t left = next - now_ns();
      if (left <= 0) continue;
      wait.tv_sec = left / 1000000000;
      wait.tv_nsec = left % 1000000000;
      until = &wait;
    }
    ppoll(fds, 3, until, NULL);
  }
  return 0;
}
