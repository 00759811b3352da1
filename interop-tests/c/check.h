/* SPDX-License-Identifier: Apache-2.0 */
/* What the programs share: a check that says where it failed, and C11 and C++17 alike. */
#ifndef KX_TEST_CHECK_H
#define KX_TEST_CHECK_H

#include <stdio.h>
#include <stdlib.h>

#ifdef __cplusplus
#define CONSTANT(expression) static_assert(expression, #expression)
#else
#define CONSTANT(expression) _Static_assert(expression, #expression)
#endif

#define CHECK(expression)                                                          \
    do {                                                                           \
        if (!(expression)) {                                                       \
            fprintf(stderr, "%s:%d: %s does not hold\n", __FILE__, __LINE__, #expression); \
            exit(1);                                                               \
        }                                                                          \
    } while (0)

#endif
