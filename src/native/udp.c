/* The class `Udp`: a socket with a handle of its own on Node's event loop.
 *
 * A socket that was started is kept alive by us until it is closed, by JavaScript or with its environment. Its memory is
 * counted: JavaScript's object has it, and so has libuv's handle until that is closed. */
#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <stdlib.h>
#include <unistd.h>

#include "addon.h"
#include "datagrams.h"
#include "uv.h"

enum { MAX_PORT = 65535, ADDRESS_ROOM = INET6_ADDRSTRLEN + IF_NAMESIZE };

struct udp {
  struct datagram_socket socket;
  struct instance* instance;
  uv_poll_t* poll;
  /* Held from start to close. */
  napi_ref self;
  napi_ref on_event;
  napi_async_context context;
  /* UV_READABLE, UV_WRITABLE: what is waited for. */
  int events;
  /* Whether all that was read is told at once. */
  bool gathers;
  /* Whether packets are joined before. */
  bool joins;
  bool referenced;
  unsigned holders;
  /* Those that were started. */
  struct udp* next;
  struct udp* previous;
};

struct udp_state {
  uv_loop_t* loop;
  /* The room: an ArrayBuffer, which is made for the first socket. */
  napi_ref room;
  struct batch batch;
  /* The Buffers of `batch.apart`, which nobody else has. */
  napi_ref apart[APART_SLOTS];
  struct udp* started;
  /* libuv's handles that are not closed yet. */
  size_t handles;
  napi_async_cleanup_hook_handle cleanup;
  bool ending;
};

static void release(struct udp* udp) {
  if (--udp->holders == 0) free(udp);
}

static void close_descriptor(struct udp* udp) {
  if (udp->socket.fd >= 0) close(udp->socket.fd);
  udp->socket.fd = -1;
}

static void end_if_closed(struct udp_state* state) {
  if (state->ending && state->handles == 0) napi_remove_async_cleanup_hook(state->cleanup);
}

static void on_closed(uv_handle_t* handle) {
  struct udp* udp = uv_handle_get_data(handle);
  struct udp_state* state = udp->instance->udp;
  state->handles--;
  free(handle);
  release(udp);
  end_if_closed(state);
}

static void close_udp(struct udp* udp) {
  struct udp_state* state = udp->instance->udp;
  const napi_env env = udp->instance->env;
  if (udp->poll != NULL) {
    /* Stops polling; only then may the descriptor be closed. */
    uv_close((uv_handle_t*)udp->poll, on_closed);
    udp->poll = NULL;
    udp->events = 0;
    if (udp->next != NULL) udp->next->previous = udp->previous;
    if (udp->previous != NULL) udp->previous->next = udp->next;
    else state->started = udp->next;
    /* It may be bound and started again. */
    udp->next = udp->previous = NULL;
    napi_async_destroy(env, udp->context);
    napi_delete_reference(env, udp->on_event);
    napi_delete_reference(env, udp->self);
  }
  close_descriptor(udp);
}

/* The environment ends: libuv's handles must be closed before its loop is. */
static void on_environment_end(napi_async_cleanup_hook_handle handle, void* data) {
  struct udp_state* state = ((struct instance*)data)->udp;
  state->cleanup = handle;
  state->ending = true;
  while (state->started != NULL) close_udp(state->started);
  end_if_closed(state);
}

static void finalize(napi_env env, void* data, void* hint) {
  (void)env;
  (void)hint;
  /* Never started, or closed: what was started is not collected. */
  close_descriptor(data);
  release(data);
}

/* ---- reading ------------------------------------------------------------------------------------------------------- */

/* JavaScript has the room too, and may have taken its memory away. */
static uint8_t* room_of(const struct instance* instance) {
  napi_value room = NULL;
  void* data = NULL;
  size_t length = 0;
  if (napi_get_reference_value(instance->env, instance->udp->room, &room) != napi_ok || room == NULL) return NULL;
  if (napi_get_arraybuffer_info(instance->env, room, &data, &length) != napi_ok || length != ROOM_BYTES) return NULL;
  return data;
}

/* What has memory of its own need not be copied to be kept: it is handed over, see take(). */
static void provide_apart(struct instance* instance, unsigned slots) {
  struct udp_state* state = instance->udp;
  const napi_env env = instance->env;
  for (unsigned slot = 0; slot < slots && slot < APART_SLOTS; slot++) {
    napi_value buffer = NULL;
    void* data = NULL;
    if (state->batch.apart[slot] != NULL || napi_create_buffer(env, LARGEST_DATAGRAM, &data, &buffer) != napi_ok) continue;
    if (napi_create_reference(env, buffer, 1, &state->apart[slot]) == napi_ok) state->batch.apart[slot] = data;
  }
}

static int read_now(struct udp* udp) {
  uint8_t* room = room_of(udp->instance);
  if (room == NULL) return -ENOBUFS;
  if (udp->socket.reads_large) provide_apart(udp->instance, udp->socket.slots);
  const int count = socket_read(&udp->socket, &udp->instance->udp->batch, room);
  if (udp->joins && count > 0) join_packets(&udp->instance->udp->batch, room, count);
  return count < 0 ? -errno : count;
}

/* As every callback of an event loop does in Node, this ends with what was put off by process.nextTick() and promises. */
static void tell(const struct udp* udp, int from, int to, int count, bool writable) {
  const napi_env env = udp->instance->env;
  napi_value self = NULL;
  napi_value callback = NULL;
  napi_value arguments[4] = {NULL};
  if (napi_get_reference_value(env, udp->self, &self) != napi_ok ||
      napi_get_reference_value(env, udp->on_event, &callback) != napi_ok ||
      napi_create_int32(env, from, &arguments[0]) != napi_ok || napi_create_int32(env, to, &arguments[1]) != napi_ok ||
      napi_create_int32(env, count, &arguments[2]) != napi_ok ||
      napi_get_boolean(env, writable, &arguments[3]) != napi_ok) {
    return;
  }
  const napi_status status = napi_make_callback(env, udp->context, self, callback, 4, arguments, NULL);
  napi_value error = NULL;
  if (status == napi_pending_exception && napi_get_and_clear_last_exception(env, &error) == napi_ok) {
    napi_fatal_exception(env, error);
  }
}

static void on_ready(uv_poll_t* poll, int status, int events) {
  struct udp* udp = uv_handle_get_data((uv_handle_t*)poll);
  napi_handle_scope scope = NULL;
  if (napi_open_handle_scope(udp->instance->env, &scope) != napi_ok) return;
  /* libuv stops at EPOLLERR, by which a UDP socket tells what ICMP said. Reading takes that off it. */
  const bool failed = status < 0;
  const bool writable = !failed && (events & UV_WRITABLE) != 0;
  const int count = failed || (events & UV_READABLE) != 0 ? read_now(udp) : 0;
  if (writable) udp->events &= ~UV_WRITABLE;
  /* A seccomp filter came after bind(2): what is there stays there, and would wake us for ever. */
  if (count == -ENOSYS || count == -EPERM) {
    udp->events &= ~UV_READABLE;
    uv_poll_stop(poll);
    if (udp->events != 0) uv_poll_start(poll, udp->events, on_ready);
  } else if (writable || failed) {
    uv_poll_start(poll, udp->events, on_ready);
  }
  if (writable || count < 0) tell(udp, 0, 0, count < 0 ? count : 0, writable);
  const int step = udp->gathers ? count : 1;
  for (int slot = 0; slot < count && udp->poll != NULL; slot += step) tell(udp, slot, slot + step, count, false);
  napi_close_handle_scope(udp->instance->env, scope);
}

/* ---- methods ------------------------------------------------------------------------------------------------------- */

/* The socket of a method, and its arguments. Methods have a signature: V8 lets them be called on instances only. */
static struct udp* begin(napi_env env, napi_callback_info info, struct call* call) {
  void* udp = NULL;
  if (!call_begin(env, info, call)) return NULL;
  return done(env, napi_unwrap(env, call->self, &udp)) ? udp : NULL;
}

static bool to_address(napi_env env, napi_value text, napi_value port, union address* address, bool* known) {
  char name[ADDRESS_ROOM];
  int64_t number = 0;
  if (!to_name(env, text, name, sizeof name) || !to_integer(env, port, 0, MAX_PORT, &number)) return false;
  *known = parse_address(name, (int)number, address);
  return true;
}

static napi_value udp_new(napi_env env, napi_callback_info info) {
  struct call call;
  napi_value target = NULL;
  if (!call_begin(env, info, &call) || !done(env, napi_get_new_target(env, info, &target))) return NULL;
  if (target == NULL) return wrong(env, "Udp is a class"), NULL;
  struct udp* udp = calloc(1, sizeof *udp);
  if (udp == NULL) return wrong(env, "out of memory"), NULL;
  *udp = (struct udp){.socket = {.fd = -1}, .instance = call.instance, .referenced = true, .holders = 1};
  if (done(env, napi_wrap(env, call.self, udp, finalize, NULL, NULL))) return call.self;
  free(udp);
  return NULL;
}

/* bind(address, port, flags) */
static napi_value udp_bind(napi_env env, napi_callback_info info) {
  struct call call;
  union address local;
  bool known = false;
  int64_t flags = 0;
  struct udp* udp = begin(env, info, &call);
  if (udp == NULL || !to_address(env, call.arguments[0], call.arguments[1], &local, &known) ||
      !to_integer(env, call.arguments[2], 0, IPV6_ONLY | REUSE_PORT | REUSE_ADDRESS, &flags)) {
    return NULL;
  }
  if (!known || udp->socket.fd >= 0) return from_integer(env, -EINVAL);
  if (socket_bind(&udp->socket, &local, (int)flags) == 0 && socket_try_read(&udp->socket) == 0) return from_integer(env, 0);
  const int error = errno;
  close_descriptor(udp);
  return from_integer(env, -error);
}

/* connect(address, port) */
static napi_value udp_connect(napi_env env, napi_callback_info info) {
  struct call call;
  union address remote;
  bool known = false;
  struct udp* udp = begin(env, info, &call);
  if (udp == NULL || !to_address(env, call.arguments[0], call.arguments[1], &remote, &known)) return NULL;
  if (!known) return from_integer(env, -EINVAL);
  return from_result(env, socket_connect(&udp->socket, &remote));
}

/* allowReuse(allow) */
static napi_value udp_allow_reuse(napi_env env, napi_callback_info info) {
  struct call call;
  bool allow = false;
  struct udp* udp = begin(env, info, &call);
  if (udp == NULL || !to_boolean(env, call.arguments[0], &allow)) return NULL;
  return from_result(env, socket_reuse(&udp->socket, allow));
}

static bool start(struct udp* udp, napi_value self, napi_value on_event) {
  const napi_env env = udp->instance->env;
  napi_value name = NULL;
  if (!done(env, napi_create_string_utf8(env, "confundo:udp", NAPI_AUTO_LENGTH, &name))) return false;
  if (!done(env, napi_async_init(env, self, name, &udp->context))) return false;
  if (done(env, napi_create_reference(env, self, 1, &udp->self))) {
    if (done(env, napi_create_reference(env, on_event, 1, &udp->on_event))) return true;
    napi_delete_reference(env, udp->self);
  }
  napi_async_destroy(env, udp->context);
  return false;
}

/* start(onEvent) */
static napi_value udp_start(napi_env env, napi_callback_info info) {
  struct call call;
  napi_valuetype type = napi_undefined;
  struct udp* udp = begin(env, info, &call);
  if (udp == NULL || !done(env, napi_typeof(env, call.arguments[0], &type))) return NULL;
  if (type != napi_function) return wrong(env, "a function is wanted"), NULL;
  struct udp_state* state = udp->instance->udp;
  if (udp->socket.fd < 0 || udp->poll != NULL || state->ending) return from_integer(env, -EINVAL);
  uv_poll_t* poll = calloc(1, uv_handle_size(UV_POLL));
  if (poll == NULL) return from_integer(env, -ENOMEM);
  const int failed = uv_poll_init(state->loop, poll, udp->socket.fd);
  if (failed != 0) {
    free(poll);
    return from_integer(env, failed);
  }
  udp->poll = poll;
  udp->holders++;
  state->handles++;
  uv_handle_set_data((uv_handle_t*)poll, udp);
  if (!start(udp, call.self, call.arguments[0])) {
    udp->poll = NULL;
    uv_close((uv_handle_t*)poll, on_closed);
    close_descriptor(udp);
    return NULL;
  }
  udp->previous = NULL;
  udp->next = state->started;
  if (udp->next != NULL) udp->next->previous = udp;
  state->started = udp;
  if (!udp->referenced) uv_unref((uv_handle_t*)poll);
  udp->events = UV_READABLE;
  return from_integer(env, uv_poll_start(poll, udp->events, on_ready));
}

/* gather(join) */
static napi_value udp_gather(napi_env env, napi_callback_info info) {
  struct call call;
  bool joins = false;
  struct udp* udp = begin(env, info, &call);
  if (udp == NULL || !to_boolean(env, call.arguments[0], &joins)) return NULL;
  udp->gathers = true;
  udp->socket.hands_over = true;
  udp->joins = joins;
  return NULL;
}

/* waitFor(readable, writable) */
static napi_value udp_wait_for(napi_env env, napi_callback_info info) {
  struct call call;
  bool readable = false;
  bool writable = false;
  struct udp* udp = begin(env, info, &call);
  if (udp == NULL || !to_boolean(env, call.arguments[0], &readable) || !to_boolean(env, call.arguments[1], &writable)) {
    return NULL;
  }
  if (udp->poll == NULL) return from_integer(env, -EBADF);
  udp->events = (readable ? UV_READABLE : 0) | (writable ? UV_WRITABLE : 0);
  return from_integer(env, udp->events == 0 ? uv_poll_stop(udp->poll) : uv_poll_start(udp->poll, udp->events, on_ready));
}

/* read() */
static napi_value udp_read(napi_env env, napi_callback_info info) {
  struct call call;
  struct udp* udp = begin(env, info, &call);
  return udp == NULL ? NULL : from_integer(env, read_now(udp));
}

/* sender(index) */
static napi_value udp_sender(napi_env env, napi_callback_info info) {
  struct call call;
  int64_t slot = 0;
  char text[ADDRESS_ROOM];
  napi_value result = NULL;
  struct udp* udp = begin(env, info, &call);
  if (udp == NULL || !to_integer(env, call.arguments[0], 0, SLOTS - 1, &slot)) return NULL;
  format_address(&udp->instance->udp->batch.addresses[slot], text);
  done(env, napi_create_string_utf8(env, text, NAPI_AUTO_LENGTH, &result));
  return result;
}

/* local(index) */
static napi_value udp_local(napi_env env, napi_callback_info info) {
  struct call call;
  int64_t slot = 0;
  char text[ADDRESS_ROOM];
  napi_value result = NULL;
  struct udp* udp = begin(env, info, &call);
  if (udp == NULL || !to_integer(env, call.arguments[0], 0, SLOTS - 1, &slot)) return NULL;
  format_address(&udp->instance->udp->batch.locals[slot], text);
  done(env, napi_create_string_utf8(env, text, NAPI_AUTO_LENGTH, &result));
  return result;
}

static napi_value hand_over(napi_env env, struct udp* udp, const struct call* call, const union address* to,
                            const union address* from) {
  const uint8_t* bytes = NULL;
  size_t length = 0;
  int64_t segment_bytes = 0;
  if (!to_bytes(env, call->arguments[0], &bytes, &length) ||
      !to_integer(env, call->arguments[1], 1, INT32_MAX, &segment_bytes)) {
    return NULL;
  }
  return from_result(env, socket_send(&udp->socket, bytes, length, (size_t)segment_bytes, to, from));
}

/* send(bytes, segmentBytes) */
static napi_value udp_send(napi_env env, napi_callback_info info) {
  struct call call;
  struct udp* udp = begin(env, info, &call);
  return udp == NULL ? NULL : hand_over(env, udp, &call, NULL, NULL);
}

/* sendTo(bytes, segmentBytes, address, port, local) */
static napi_value udp_send_to(napi_env env, napi_callback_info info) {
  struct call call;
  union address to;
  union address from = {.family = AF_UNSPEC};
  char local[ADDRESS_ROOM];
  bool known = false;
  napi_valuetype type = napi_undefined;
  struct udp* udp = begin(env, info, &call);
  if (udp == NULL || !to_address(env, call.arguments[2], call.arguments[3], &to, &known) ||
      !done(env, napi_typeof(env, call.arguments[4], &type))) {
    return NULL;
  }
  if (type == napi_undefined) local[0] = '\0';
  else if (!to_name(env, call.arguments[4], local, sizeof local)) return NULL;
  if (local[0] != '\0') known = known && parse_address(local, 0, &from) && from.family == udp->socket.family;
  return known ? hand_over(env, udp, &call, &to, &from) : from_integer(env, -EINVAL);
}

/* mtu() */
static napi_value udp_mtu(napi_env env, napi_callback_info info) {
  struct call call;
  const struct udp* udp = begin(env, info, &call);
  return udp == NULL ? NULL : from_result(env, socket_mtu(&udp->socket));
}

/* segments(allow): whether bursts are handed over as one, after having forbidden it where `allow` is false. */
static napi_value udp_segments(napi_env env, napi_callback_info info) {
  struct call call;
  bool allow = false;
  napi_value result = NULL;
  struct udp* udp = begin(env, info, &call);
  if (udp == NULL || !to_boolean(env, call.arguments[0], &allow)) return NULL;
  udp->socket.segments &= allow;
  done(env, napi_get_boolean(env, udp->socket.segments, &result));
  return result;
}

/* address(): [address, port], or a negative errno */
static napi_value udp_address(napi_env env, napi_callback_info info) {
  struct call call;
  union address local;
  socklen_t length = sizeof local;
  char text[ADDRESS_ROOM];
  napi_value name = NULL;
  napi_value result = NULL;
  const struct udp* udp = begin(env, info, &call);
  if (udp == NULL) return NULL;
  if (getsockname(udp->socket.fd, &local.any, &length) != 0) return from_integer(env, -errno);
  format_address(&local, text);
  const bool made = done(env, napi_create_string_utf8(env, text, NAPI_AUTO_LENGTH, &name)) &&
                    done(env, napi_create_array_with_length(env, 2, &result)) &&
                    done(env, napi_set_element(env, result, 0, name)) &&
                    done(env, napi_set_element(env, result, 1, from_integer(env, address_port(&local))));
  return made ? result : NULL;
}

/* setRef(ref): whether the socket keeps the process alive */
static napi_value udp_set_ref(napi_env env, napi_callback_info info) {
  struct call call;
  struct udp* udp = begin(env, info, &call);
  if (udp == NULL || !to_boolean(env, call.arguments[0], &udp->referenced)) return NULL;
  if (udp->poll == NULL) return NULL;
  if (udp->referenced) uv_ref((uv_handle_t*)udp->poll);
  else uv_unref((uv_handle_t*)udp->poll);
  return NULL;
}

/* close() */
static napi_value udp_close(napi_env env, napi_callback_info info) {
  struct call call;
  struct udp* udp = begin(env, info, &call);
  if (udp != NULL) close_udp(udp);
  return NULL;
}

/* ---- the module ---------------------------------------------------------------------------------------------------- */

/* room(): the ArrayBuffer that every read writes into */
static napi_value udp_room(napi_env env, napi_callback_info info) {
  struct call call;
  napi_value room = NULL;
  if (!call_begin(env, info, &call)) return NULL;
  struct udp_state* state = call.instance->udp;
  if (state->room != NULL) {
    done(env, napi_get_reference_value(env, state->room, &room));
  } else if (done(env, napi_create_arraybuffer(env, ROOM_BYTES, NULL, &room))) {
    done(env, napi_create_reference(env, room, 1, &state->room));
  }
  return room;
}

/* take(slot): the memory that a slot of the last read has of its own, which is the caller's from now on; undefined for none */
static napi_value udp_take(napi_env env, napi_callback_info info) {
  struct call call;
  int64_t slot = 0;
  napi_value buffer = NULL;
  if (!call_begin(env, info, &call) || !to_integer(env, call.arguments[0], 0, SLOTS - 1, &slot)) return NULL;
  struct udp_state* state = call.instance->udp;
  if (slot >= APART_SLOTS || state->batch.apart[slot] == NULL) return NULL;
  if (!done(env, napi_get_reference_value(env, state->apart[slot], &buffer))) return NULL;
  state->batch.apart[slot] = NULL;
  napi_delete_reference(env, state->apart[slot]);
  return buffer;
}

#define METHOD(name, function) {.utf8name = name, .method = function, .attributes = napi_default_method}

static bool define_class(napi_env env, napi_value exports) {
  const napi_property_descriptor methods[] = {
      METHOD("bind", udp_bind),
      METHOD("connect", udp_connect),
      METHOD("allowReuse", udp_allow_reuse),
      METHOD("start", udp_start),
      METHOD("gather", udp_gather),
      METHOD("waitFor", udp_wait_for),
      METHOD("read", udp_read),
      METHOD("sender", udp_sender),
      METHOD("local", udp_local),
      METHOD("send", udp_send),
      METHOD("sendTo", udp_send_to),
      METHOD("mtu", udp_mtu),
      METHOD("segments", udp_segments),
      METHOD("address", udp_address),
      METHOD("setRef", udp_set_ref),
      METHOD("close", udp_close),
  };
  napi_value class = NULL;
  return done(env, napi_define_class(env, "Udp", NAPI_AUTO_LENGTH, udp_new, NULL, sizeof methods / sizeof *methods,
                                     methods, &class)) &&
         done(env, napi_set_named_property(env, exports, "Udp", class)) &&
         define_function(env, exports, "room", udp_room) && define_function(env, exports, "take", udp_take);
}

bool define_udp(struct instance* instance, napi_value exports) {
  const napi_env env = instance->env;
  if (uv_version() >> 16 != UV_MAJOR) return wrong(env, "libuv has another major version");
  struct udp_state* state = calloc(1, sizeof *state);
  if (state == NULL) return wrong(env, "out of memory");
  instance->udp = state;
  return done(env, napi_get_uv_event_loop(env, &state->loop)) &&
         done(env, napi_add_async_cleanup_hook(env, on_environment_end, instance, NULL)) && define_class(env, exports);
}

void free_udp(struct instance* instance) {
  free(instance->udp);
}
