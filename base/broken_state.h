/* States that cannot be: what an assertion would say, where clients or upstreams have a part in what led
 * there.
 *
 *     if (exchange->suspended) {
 *         broken_state_note("http/exchange.c: suspended twice");
 *         return;
 *     }
 *
 * The caller then closes that connection, or ends that run: the process and everybody else's runs go on. A
 * state that one file, or one lock, rules out is asserted instead. docs/internals/assertions.md lists both.
 */
#ifndef SLUICE_BASE_BROKEN_STATE_H
#define SLUICE_BASE_BROKEN_STATE_H

/** Counts it in sluice_broken_states_total, and logs `what` at level error, once a second at most. Any
 * thread, also under a lock. */
void broken_state_note(const char *what);

#endif
