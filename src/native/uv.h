/* The part of libuv that we call. Its ABI is stable within a major version, which addon.c checks; the sizes of its structures
 * are asked for. https://docs.libuv.org/en/v1.x/poll.html */
#ifndef CONFUNDO_UV_H
#define CONFUNDO_UV_H

#include <stddef.h>

struct sockaddr_in;
struct sockaddr_in6;
typedef struct uv_loop_s uv_loop_t;
typedef struct uv_handle_s uv_handle_t;
typedef struct uv_poll_s uv_poll_t;

enum { UV_MAJOR = 1, UV_POLL = 8 };
enum { UV_READABLE = 1, UV_WRITABLE = 2 };

unsigned int uv_version(void);
size_t uv_handle_size(int type);
void* uv_handle_get_data(const uv_handle_t* handle);
void uv_handle_set_data(uv_handle_t* handle, void* data);
void uv_ref(uv_handle_t* handle);
void uv_unref(uv_handle_t* handle);
void uv_close(uv_handle_t* handle, void (*closed)(uv_handle_t* handle));
int uv_poll_init(uv_loop_t* loop, uv_poll_t* handle, int fd);
int uv_poll_start(uv_poll_t* handle, int events, void (*ready)(uv_poll_t* handle, int status, int events));
int uv_poll_stop(uv_poll_t* handle);
int uv_ip4_addr(const char* address, int port, struct sockaddr_in* result);
int uv_ip6_addr(const char* address, int port, struct sockaddr_in6* result);

#endif
