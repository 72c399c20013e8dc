/* What helgrind must be told, which knows locks but not atomics; nothing, unless it is built for that. */
#ifndef SLUICE_BASE_HELGRIND_H
#define SLUICE_BASE_HELGRIND_H

#ifdef SLUICE_HELGRIND
#include <valgrind/helgrind.h>
#else
/** All that this thread has done so far comes before the other one's HAPPENS_AFTER of that address. */
#define ANNOTATE_HAPPENS_BEFORE(address) ((void)0)
#define ANNOTATE_HAPPENS_AFTER(address) ((void)0)
/** The address means nothing any more. */
#define ANNOTATE_HAPPENS_BEFORE_FORGET_ALL(address) ((void)0)
/** These bytes are an atomic that orders nothing. */
#define VALGRIND_HG_DISABLE_CHECKING(address, size) ((void)0)
#define VALGRIND_HG_ENABLE_CHECKING(address, size) ((void)0)
#endif

#endif
