/* Impossible states that clients or upstreams may have helped to cause. Elsewhere an assertion catches such
 * a state.
 *
 *     if (exchange->suspended) {
 *         broken_state_note("http/exchange.c: suspended twice");
 *         return;
 *     }
 *
 * The caller then closes its connection or ends its run; the process and all other runs go on. A state that
 * one file or one lock rules out is asserted instead. docs/internals/assertions.md lists both.
 */
#ifndef SLUICE_BASE_BROKEN_STATE_H
#define SLUICE_BASE_BROKEN_STATE_H

/** Counts the state in sluice_broken_states_total, and logs `what` at level error, at most once a second. Any
 * thread, also under a lock. */
void broken_state_note(const char *what);

#endif
