#include "addon.h"

#include <errno.h>
#include <gnu/libc-version.h>
#include <stdlib.h>
#include <string.h>

/* Changes with the interface: a binary that was built before is not used. */
enum { REVISION = 6 };

bool wrong(napi_env env, const char* message) {
  napi_throw_type_error(env, "ERR_INVALID_ARG_TYPE", message);
  return false;
}

bool done(napi_env env, napi_status status) {
  if (status == napi_ok) return true;
  const napi_extended_error_info* info = NULL;
  bool pending = false;
  if (napi_is_exception_pending(env, &pending) == napi_ok && pending) return false;
  const bool told = napi_get_last_error_info(env, &info) == napi_ok && info->error_message != NULL;
  napi_throw_error(env, NULL, told ? info->error_message : "Node-API refused a call");
  return false;
}

bool call_begin(napi_env env, napi_callback_info info, struct call* call) {
  size_t count = MAX_ARGUMENTS;
  void* instance = NULL;
  if (!done(env, napi_get_cb_info(env, info, &count, call->arguments, &call->self, NULL))) return false;
  if (!done(env, napi_get_instance_data(env, &instance))) return false;
  call->instance = instance;
  return true;
}

bool to_integer(napi_env env, napi_value value, int64_t least, int64_t most, int64_t* result) {
  double number = 0;
  if (napi_get_value_double(env, value, &number) != napi_ok) return wrong(env, "a number is wanted");
  /* Not so for NaN. Bounds are of 53 bits at most, so that both are exact. */
  if (!(number >= (double)least && number <= (double)most)) return wrong(env, "the number is out of range");
  *result = (int64_t)number;
  return (double)*result == number || wrong(env, "an integer is wanted");
}

bool to_boolean(napi_env env, napi_value value, bool* result) {
  return napi_get_value_bool(env, value, result) == napi_ok || wrong(env, "a boolean is wanted");
}

bool to_bytes(napi_env env, napi_value value, const uint8_t** bytes, size_t* length) {
  bool is_array = false;
  napi_typedarray_type type = napi_int8_array;
  void* data = NULL;
  if (napi_is_typedarray(env, value, &is_array) != napi_ok || !is_array ||
      napi_get_typedarray_info(env, value, &type, length, &data, NULL, NULL) != napi_ok || type != napi_uint8_array) {
    return wrong(env, "a Uint8Array is wanted");
  }
  /* Detached, it has no memory. */
  if (data == NULL) *length = 0;
  *bytes = data;
  return true;
}

bool to_name(napi_env env, napi_value value, char* name, size_t room) {
  napi_valuetype type = napi_undefined;
  size_t length = 0;
  if (!done(env, napi_typeof(env, value, &type))) return false;
  if (type == napi_string) {
    if (!done(env, napi_get_value_string_utf8(env, value, NULL, 0, &length))) return false;
    if (length >= room) return wrong(env, "the name is too long");
    if (!done(env, napi_get_value_string_utf8(env, value, name, room, &length))) return false;
  } else {
    const uint8_t* bytes = NULL;
    if (!to_bytes(env, value, &bytes, &length)) return false;
    if (length >= room) return wrong(env, "the name is too long");
    if (length > 0) memcpy(name, bytes, length);
  }
  name[length] = '\0';
  return strlen(name) == length || wrong(env, "the name has a zero in it");
}

napi_value from_integer(napi_env env, int64_t value) {
  napi_value result = NULL;
  done(env, napi_create_int64(env, value, &result));
  return result;
}

napi_value from_result(napi_env env, int64_t result) {
  return from_integer(env, result < 0 ? -errno : result);
}

bool define_function(napi_env env, napi_value exports, const char* name, napi_callback function) {
  napi_value value = NULL;
  return done(env, napi_create_function(env, name, NAPI_AUTO_LENGTH, function, NULL, &value)) &&
         done(env, napi_set_named_property(env, exports, name, value));
}

static void free_instance(napi_env env, void* data, void* hint) {
  (void)env;
  (void)hint;
  free_udp(data);
  free(data);
}

NAPI_MODULE_INIT() {
  /* musl has other structures, and not this function, without which it does not load us. */
  if (gnu_get_libc_version() == NULL) return NULL;
  struct instance* instance = calloc(1, sizeof *instance);
  if (instance == NULL) return NULL;
  instance->env = env;
  if (!done(env, napi_set_instance_data(env, instance, free_instance, NULL))) {
    free(instance);
    return NULL;
  }
  const bool defined = define_files(env, exports) && define_udp(instance, exports) &&
                       done(env, napi_set_named_property(env, exports, "revision", from_integer(env, REVISION)));
  return defined ? exports : NULL;
}
