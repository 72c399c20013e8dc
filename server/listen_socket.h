/* The sockets that the workers accept from: one a worker, all on the same address and port. */
#ifndef SLUICE_SERVER_LISTEN_SOCKET_H
#define SLUICE_SERVER_LISTEN_SOCKET_H

#include "base/attributes.h"
#include "config/config.h"

/** Opens `count` non-blocking listening sockets that share the port (SO_REUSEPORT: the kernel spreads
 * connections over them). A port that anybody else listens on is refused, also if they would share it.
 * *ret_port is the port, chosen by the kernel if it was 0. 0, or a negative errno with nothing open. */
int listen_sockets_open(const struct config_listen *listen, size_t count, int *sockets,
                        uint16_t *ret_port) MUST_CHECK;

#endif
