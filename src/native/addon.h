/* What Node lacks: UDP sockets with recvmmsg, UDP_GRO and UDP_SEGMENT on its own event loop, and a few calls of the file
 * system. Linux with glibc. The interface is described in addon.ts.
 *
 * Functions that reach the kernel return 0 or more, or a negative errno. A wrong argument is a TypeError, whatever it is;
 * nothing that JavaScript can pass may crash. All state belongs to an environment: worker threads have their own. */
#ifndef CONFUNDO_ADDON_H
#define CONFUNDO_ADDON_H

#define NAPI_VERSION 8
#include <node_api.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { MAX_ARGUMENTS = 5 };

struct udp_state;

/* What an environment has. */
struct instance {
  napi_env env;
  struct udp_state* udp;
};

/* The arguments of a call: missing ones are undefined. */
struct call {
  struct instance* instance;
  napi_value self;
  napi_value arguments[MAX_ARGUMENTS];
};

/* Each of these returns false with a TypeError pending. */
bool call_begin(napi_env env, napi_callback_info info, struct call* call);
bool to_integer(napi_env env, napi_value value, int64_t least, int64_t most, int64_t* result);
bool to_boolean(napi_env env, napi_value value, bool* result);
bool to_bytes(napi_env env, napi_value value, const uint8_t** bytes, size_t* length);
/* A string, or the bytes of a name, of less than `room` bytes and none of them zero; the copy ends in zero. */
bool to_name(napi_env env, napi_value value, char* name, size_t room);
bool wrong(napi_env env, const char* message);
/* Throws what Node-API says, unless the status is napi_ok. */
bool done(napi_env env, napi_status status);

napi_value from_integer(napi_env env, int64_t value);
/* A negative errno where `result` is below 0, and `result` otherwise. */
napi_value from_result(napi_env env, int64_t result);
bool define_function(napi_env env, napi_value exports, const char* name, napi_callback function);

bool define_files(napi_env env, napi_value exports);
bool define_udp(struct instance* instance, napi_value exports);
void free_udp(struct instance* instance);

#endif
