/* What every unit test includes: cmocka and what it asks for. */
#ifndef SLUICE_TESTS_UNIT_H
#define SLUICE_TESTS_UNIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define TEXT_AND_LENGTH(text) (text), (sizeof(text) - 1)

#endif
