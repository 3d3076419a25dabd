/*
 * A FUSE file system with one big file, "disk": every write and every flush of it is logged, in order, so that the disk can be made as it
 * was at any moment, and writes can be made to fail.
 *
 *     logfs MOUNT BACKING LOG CTL SIZE
 *
 * CTL is a mapped file of 64-bit numbers: records so far, flushes so far, how many writes with the marker are to fail with EIO, how many
 * flushes are to fail, how many have failed, how many writes of any kind are to fail.
 */
#define FUSE_USE_VERSION 31
#define _GNU_SOURCE
#include <fuse.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>
struct ctl { volatile uint64_t seq, barriers; volatile int64_t fail_marker, fail_flush, failed, fail_writes; };
struct rec { uint32_t magic, type; uint64_t seq, off, len; };
static struct ctl *ctl; static int back, lg; static off_t size;
static const char MARK[] = "!!POISON-BLOCK!!";
static void put(uint32_t type, uint64_t off, uint64_t len, const char *data) {
  struct rec r = { 0x4c4f4746, type, ctl->seq + 1, off, len };
  struct iovec v[2] = { { &r, sizeof r }, { (void *)data, data ? len : 0 } };
  ssize_t want = sizeof r + (data ? len : 0);
  if (writev(lg, v, data ? 2 : 1) != want) { perror("log"); abort(); }
  if (type == 2) ctl->barriers++;
  __sync_synchronize(); ctl->seq++;
}
static int l_getattr(const char *p, struct stat *st, struct fuse_file_info *fi) {
  memset(st, 0, sizeof *st);
  if (!strcmp(p, "/")) { st->st_mode = S_IFDIR | 0755; st->st_nlink = 2; return 0; }
  if (!strcmp(p, "/disk")) { st->st_mode = S_IFREG | 0600; st->st_nlink = 1; st->st_size = size; return 0; }
  return -ENOENT;
}
static int l_readdir(const char *p, void *b, fuse_fill_dir_t f, off_t o, struct fuse_file_info *fi, enum fuse_readdir_flags fl) {
  f(b, "disk", NULL, 0, 0); return 0;
}
static int l_open(const char *p, struct fuse_file_info *fi) { return strcmp(p, "/disk") ? -ENOENT : 0; }
static int l_read(const char *p, char *b, size_t n, off_t o, struct fuse_file_info *fi) {
  ssize_t r = pread(back, b, n, o); return r < 0 ? -errno : r;
}
static int l_write(const char *p, const char *b, size_t n, off_t o, struct fuse_file_info *fi) {
  if (ctl->fail_writes > 0) { ctl->fail_writes--; ctl->failed++; return -EIO; }
  if (ctl->fail_marker > 0 && memmem(b, n, MARK, sizeof MARK - 1)) { ctl->fail_marker--; ctl->failed++; return -EIO; }
  if (pwrite(back, b, n, o) != (ssize_t)n) { perror("back"); return -EIO; }
  put(1, o, n, b); return n;
}
static int l_fsync(const char *p, int d, struct fuse_file_info *fi) {
  static int delay = -1; if (delay < 0) delay = getenv("FLUSH_US") ? atoi(getenv("FLUSH_US")) : 0; if (delay) usleep(delay);
  if (ctl->fail_flush > 0) { ctl->fail_flush--; ctl->failed++; return -EIO; }
  put(2, 0, 0, NULL); return 0;
}
static void *l_init(struct fuse_conn_info *c, struct fuse_config *cfg) {
  c->max_write = 1 << 20; c->want &= ~FUSE_CAP_WRITEBACK_CACHE; cfg->kernel_cache = 0; cfg->direct_io = 0;
  cfg->attr_timeout = 1000; cfg->entry_timeout = 1000; return NULL;
}
static const struct fuse_operations ops = { .getattr = l_getattr, .readdir = l_readdir, .open = l_open, .read = l_read,
  .write = l_write, .fsync = l_fsync, .init = l_init };
int main(int n, char **a) {
  if (n < 6) return 2;
  size = atoll(a[5]);
  back = open(a[2], O_RDWR | O_CREAT, 0600); if (ftruncate(back, size)) return 1;
  lg = open(a[3], O_WRONLY | O_CREAT | O_TRUNC | O_APPEND, 0600);
  int c = open(a[4], O_RDWR | O_CREAT, 0600); if (ftruncate(c, 4096)) return 1;
  ctl = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, c, 0);
  memset(ctl, 0, sizeof *ctl);
  char *fa[] = { a[0], "-s", "-f", a[1], NULL };
  return fuse_main(4, fa, &ops, NULL);
}
