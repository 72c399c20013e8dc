/* Annotations for helgrind, which knows locks but not atomics. They are empty unless SLUICE_HELGRIND is
 * defined. */
#ifndef SLUICE_BASE_HELGRIND_H
#define SLUICE_BASE_HELGRIND_H

#ifdef SLUICE_HELGRIND
#include <valgrind/helgrind.h>
#else
/** Everything that this thread has done so far comes before the other thread's HAPPENS_AFTER of this address.
 */
#define ANNOTATE_HAPPENS_BEFORE(address) ((void)0)
#define ANNOTATE_HAPPENS_AFTER(address) ((void)0)
/** The address has no meaning any more. */
#define ANNOTATE_HAPPENS_BEFORE_FORGET_ALL(address) ((void)0)
/** These bytes are an atomic that orders no other memory. */
#define VALGRIND_HG_DISABLE_CHECKING(address, size) ((void)0)
#define VALGRIND_HG_ENABLE_CHECKING(address, size) ((void)0)
#endif

#endif
