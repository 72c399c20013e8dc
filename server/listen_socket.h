/* The listening sockets: one for each worker, all on the same address and port. */
#ifndef SLUICE_SERVER_LISTEN_SOCKET_H
#define SLUICE_SERVER_LISTEN_SOCKET_H

#include "base/attributes.h"
#include "config/config.h"

/** Opens `count` non-blocking listening sockets that share the port. The kernel spreads connections over them
 * (SO_REUSEPORT). A port of another process is refused, even if that process would share it. *ret_port is
 * the port; the kernel chooses it if the configured port is 0. Returns 0, or a negative errno with nothing
 * open. */
int listen_sockets_open(const struct config_listen *listen, size_t count, int *sockets,
                        uint16_t *ret_port) MUST_CHECK;

#endif
