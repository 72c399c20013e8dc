/* The list of the kinds of upstream. What a kind can do and how it is spoken to are members of its `struct
 * adapter`, in the file of the kind: no other file asks for one kind by name. */
#include "upstream/adapter.h"

#include <string.h>

#define ADAPTER_ADDRESS(kind) &adapter_##kind,
const struct adapter *const adapter_kinds[] = {ADAPTER_KINDS(ADAPTER_ADDRESS) NULL};

const struct adapter *adapter_find(const char *name) {
    for (const struct adapter *const *kind = adapter_kinds; *kind != NULL; kind++) {
        if (strcmp((*kind)->name, name) == 0)
            return *kind;
    }
    return NULL;
}
