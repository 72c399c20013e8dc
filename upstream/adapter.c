/* The kinds of upstream there are: see adapter.h. */
#include "upstream/adapter.h"

#include <string.h>

static const struct adapter *const adapters[] = {&adapter_adk, &adapter_sse, &adapter_openai};

const struct adapter *adapter_find(const char *name) {
    /* The items are pointers. NOLINTNEXTLINE(bugprone-sizeof-expression) */
    for (size_t i = 0; i < sizeof adapters / sizeof *adapters; i++) {
        if (strcmp(adapters[i]->name, name) == 0)
            return adapters[i];
    }
    return NULL;
}
