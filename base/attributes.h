/* Compiler attributes by the names the project uses for them. */
#ifndef SLUICE_BASE_ATTRIBUTES_H
#define SLUICE_BASE_ATTRIBUTES_H

/** The caller must check the result. */
#define MUST_CHECK __attribute__((warn_unused_result))

/** The function formats like printf: the format is argument f, and its values begin at argument a. */
#define PRINTF_LIKE(f, a) __attribute__((format(printf, f, a)))

/** Run `function(&variable)` when the variable goes out of scope. */
#define CLEANUP(function) __attribute__((cleanup(function)))

/** The struct of type `type` whose member `member` is at `pointer`. */
#define CONTAINER_OF(pointer, type, member) ((type *)(void *)((char *)(pointer)-offsetof(type, member)))

#endif
