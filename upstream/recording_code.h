/* Recordings as bytes, for a store that others may write to as well. */
#ifndef SLUICE_UPSTREAM_RECORDING_CODE_H
#define SLUICE_UPSTREAM_RECORDING_CODE_H

#include "upstream/recording.h"

/** The most that a recording whose entries take `bytes` of memory is as bytes. */
size_t recording_code_bytes_max(size_t bytes);

/** Appends the events of a recording that has ended whole. False: out of memory, or the buffer is full. */
bool recording_encode(struct recording *recording, int64_t expires_unix_ms, struct buffer *out) MUST_CHECK;

/** Makes a live recording of the events in `bytes`, which may be anything; *ret_outcome is what its end said.
 * 0; -EPROTONOSUPPORT: another version's; -EBADMSG: none, or a broken one; -EMSGSIZE: above bytes_max;
 * -ENOMEM. */
int recording_decode(const void *bytes, size_t length, size_t bytes_max, struct recording **ret_recording,
                     struct upstream_outcome *ret_outcome, int64_t *ret_expires_unix_ms) MUST_CHECK;

#endif
