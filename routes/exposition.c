/* Text in the Prometheus exposition format 0.0.4.
 *
 * A family is a name, a help and a type; its samples follow at once, as the format demands. All text goes
 * into one buffer, and a failure to write is remembered there. So callers write on, and look once, at the
 * end. */
#include "routes/exposition.h"

#include "base/metrics.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

void exposition_init(struct exposition *exposition, size_t bytes_max) {
    *exposition = (struct exposition){0};
    buffer_init_counted(&exposition->text, bytes_max, MEMORY_ANSWERS);
}

void exposition_finish(struct exposition *exposition) {
    buffer_finish(&exposition->text);
}

static void exposition_append(struct exposition *exposition, const char *text, size_t length) {
    exposition->failed = exposition->failed || !buffer_append(&exposition->text, text, length);
}

static void exposition_append_text(struct exposition *exposition, const char *text) {
    exposition_append(exposition, text, strlen(text));
}

void exposition_family(struct exposition *exposition, const char *name, const char *type, const char *help) {
    exposition->family = name;
    exposition->failed =
        exposition->failed ||
        !buffer_printf(&exposition->text, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void exposition_append_escaped(struct exposition *exposition, const char *value) {
    while (*value != '\0') {
        size_t plain = strcspn(value, "\\\"\n");
        exposition_append(exposition, value, plain);
        value += plain;
        if (*value == '\0')
            return;
        exposition_append_text(exposition, *value == '\n' ? "\\n" : *value == '"' ? "\\\"" : "\\\\");
        value++;
    }
}

/* Everything of a sample but its value. */
static void begin_sample(struct exposition *exposition, const char *suffix,
                         const struct exposition_label *labels) {
    exposition_append_text(exposition, exposition->family);
    exposition_append_text(exposition, suffix);
    const char *before = "{";
    for (const struct exposition_label *label = labels; label != NULL && label->name != NULL; label++) {
        exposition_append_text(exposition, before);
        exposition_append_text(exposition, label->name);
        exposition_append_text(exposition, "=\"");
        exposition_append_escaped(exposition, label->value);
        exposition_append_text(exposition, "\"");
        before = ",";
    }
    exposition_append_text(exposition, *before == ',' ? "} " : " ");
}

static void end_sample(struct exposition *exposition, uint64_t value) {
    exposition->failed = exposition->failed || !buffer_printf(&exposition->text, "%" PRIu64 "\n", value);
}

static void end_sample_ms(struct exposition *exposition, uint64_t ms) {
    exposition->failed = exposition->failed || !buffer_printf(&exposition->text, "%" PRIu64 ".%03u\n",
                                                              ms / 1000, (unsigned)(ms % 1000));
}

void exposition_sample(struct exposition *exposition, const struct exposition_label *labels, uint64_t value) {
    begin_sample(exposition, "", labels);
    end_sample(exposition, value);
}

void exposition_sample_ms(struct exposition *exposition, const struct exposition_label *labels, uint64_t ms) {
    begin_sample(exposition, "", labels);
    end_sample_ms(exposition, ms);
}

void exposition_add(struct exposition *exposition, const char *name, const char *type, const char *help,
                    uint64_t value) {
    exposition_family(exposition, name, type, help);
    exposition_sample(exposition, NULL, value);
}

static void add_bucket(struct exposition *exposition, const char *bound, uint64_t count) {
    begin_sample(exposition, "_bucket", (const struct exposition_label[]){{"le", bound}, {0}});
    end_sample(exposition, count);
}

void exposition_add_histogram(struct exposition *exposition, const char *name, const char *help,
                              const struct histogram_reading *reading) {
    exposition_family(exposition, name, "histogram", help);
    for (size_t i = 0; i < HISTOGRAM_BOUNDS; i++) {
        char bound[32];
        snprintf(bound, sizeof(bound), "%g", (double)histogram_bounds_ms[i] / 1000);
        add_bucket(exposition, bound, reading->up_to[i]);
    }
    add_bucket(exposition, "+Inf", reading->count);
    begin_sample(exposition, "_sum", NULL);
    end_sample_ms(exposition, reading->sum_ms);
    begin_sample(exposition, "_count", NULL);
    end_sample(exposition, reading->count);
}
