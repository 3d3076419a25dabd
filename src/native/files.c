/* Times to the nanosecond, leases, holes, one flush for many files, and memory let go. */
#include "addon.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/* The time of the last access stays. */
static bool to_times(napi_env env, napi_value value, struct timespec times[2]) {
  enum { SECOND = 1000000000 };
  uint64_t words[2] = {0, 0};
  size_t count = 2;
  int negative = 0;
  if (napi_get_value_bigint_words(env, value, &negative, &count, words) != napi_ok) {
    return wrong(env, "a bigint is wanted");
  }
  const uint64_t nanoseconds = words[0] % SECOND;
  const int64_t seconds = (int64_t)(words[0] / SECOND);
  times[0] = (struct timespec){.tv_sec = 0, .tv_nsec = UTIME_OMIT};
  /* Before 1970 too, nanoseconds count upwards. */
  if (negative && nanoseconds > 0) {
    times[1] = (struct timespec){.tv_sec = -seconds - 1, .tv_nsec = (long)(SECOND - nanoseconds)};
  } else {
    times[1] = (struct timespec){.tv_sec = negative ? -seconds : seconds, .tv_nsec = (long)nanoseconds};
  }
  /* Of more than 64 bits: EINVAL says the kernel then. */
  if (count > 1) times[1].tv_nsec = -1;
  return true;
}

static napi_value set_time(napi_env env, napi_callback_info info) {
  struct call call;
  int64_t fd = 0;
  struct timespec times[2];
  if (!call_begin(env, info, &call) || !to_integer(env, call.arguments[0], INT_MIN, INT_MAX, &fd) ||
      !to_times(env, call.arguments[1], times)) {
    return NULL;
  }
  return from_result(env, futimens((int)fd, times));
}

static napi_value set_time_at(napi_env env, napi_callback_info info) {
  struct call call;
  char path[PATH_MAX];
  struct timespec times[2];
  bool follow = false;
  if (!call_begin(env, info, &call) || !to_name(env, call.arguments[0], path, sizeof path) ||
      !to_times(env, call.arguments[1], times) || !to_boolean(env, call.arguments[2], &follow)) {
    return NULL;
  }
  return from_result(env, utimensat(AT_FDCWD, path, times, follow ? 0 : AT_SYMLINK_NOFOLLOW));
}

static napi_value uncache(napi_env env, napi_callback_info info) {
  const int64_t most = (int64_t)1 << 53;
  struct call call;
  int64_t fd = 0;
  int64_t from = 0;
  int64_t bytes = 0;
  if (!call_begin(env, info, &call) || !to_integer(env, call.arguments[0], INT_MIN, INT_MAX, &fd) ||
      !to_integer(env, call.arguments[1], 0, most, &from) || !to_integer(env, call.arguments[2], 0, most, &bytes)) {
    return NULL;
  }
  /* It returns its error, and does not touch errno. */
  errno = posix_fadvise((int)fd, from, bytes, POSIX_FADV_DONTNEED);
  return from_result(env, errno == 0 ? 0 : -1);
}

/*
 * Takes a read lease (fcntl(2)), which is refused with EAGAIN while the file is open for writing, and gives it back at once.
 * A writer that opens the file in between waits for that, and we are sent SIGURG, which is ignored by default as SIGIO is not.
 */
static napi_value check_writers(napi_env env, napi_callback_info info) {
  struct call call;
  int64_t fd = 0;
  if (!call_begin(env, info, &call) || !to_integer(env, call.arguments[0], INT_MIN, INT_MAX, &fd)) return NULL;
  if (fcntl((int)fd, F_SETSIG, SIGURG) < 0 || fcntl((int)fd, F_SETLEASE, F_RDLCK) < 0) return from_result(env, -1);
  return from_result(env, fcntl((int)fd, F_SETLEASE, F_UNLCK));
}

/* The first offset from a given one on where there is data, or a hole: lseek(2). ENXIO: there is no more data. */
static napi_value seek(napi_env env, napi_callback_info info) {
  const int64_t most = (int64_t)1 << 53;
  struct call call;
  int64_t fd = 0;
  int64_t from = 0;
  bool data = false;
  if (!call_begin(env, info, &call) || !to_integer(env, call.arguments[0], INT_MIN, INT_MAX, &fd) ||
      !to_integer(env, call.arguments[1], 0, most, &from) || !to_boolean(env, call.arguments[2], &data)) {
    return NULL;
  }
  return from_result(env, lseek((int)fd, from, data ? SEEK_DATA : SEEK_HOLE));
}

/* A flush under way on a thread of libuv's pool. */
struct flush {
  napi_async_work work;
  napi_deferred deferred;
  int fd;
  int result;
};

static void flush_execute(napi_env env, void* data) {
  (void)env;
  struct flush* flush = data;
  flush->result = syncfs(flush->fd) == 0 ? 0 : -errno;
}

static void flush_complete(napi_env env, napi_status status, void* data) {
  struct flush* flush = data;
  napi_value result = from_integer(env, status == napi_ok ? flush->result : -ECANCELED);
  /* Where the environment is being torn down there is nobody to tell. */
  if (result != NULL) napi_resolve_deferred(env, flush->deferred, result);
  napi_delete_async_work(env, flush->work);
  free(flush);
}

static napi_value flush_file_system(napi_env env, napi_callback_info info) {
  struct call call;
  int64_t fd = 0;
  napi_value name = NULL;
  napi_value promise = NULL;
  if (!call_begin(env, info, &call) || !to_integer(env, call.arguments[0], INT_MIN, INT_MAX, &fd)) return NULL;
  struct flush* flush = calloc(1, sizeof *flush);
  if (flush == NULL) return wrong(env, "out of memory"), NULL;
  flush->fd = (int)fd;
  if (done(env, napi_create_string_utf8(env, "confundo:syncfs", NAPI_AUTO_LENGTH, &name)) &&
      done(env, napi_create_async_work(env, NULL, name, flush_execute, flush_complete, flush, &flush->work))) {
    if (done(env, napi_create_promise(env, &flush->deferred, &promise)) &&
        done(env, napi_queue_async_work(env, flush->work))) {
      return promise;
    }
    napi_delete_async_work(env, flush->work);
  }
  free(flush);
  return NULL;
}

bool define_files(napi_env env, napi_value exports) {
  return define_function(env, exports, "setTime", set_time) &&
         define_function(env, exports, "setTimeAt", set_time_at) &&
         define_function(env, exports, "uncache", uncache) &&
         define_function(env, exports, "checkWriters", check_writers) &&
         define_function(env, exports, "seek", seek) &&
         define_function(env, exports, "flushFileSystem", flush_file_system);
}
