/* The texts that the program prints about its settings, all made from the table of keys.
 *
 * Help is wrapped to 100 columns; the documentation is a Markdown table for each group; the example and the values
 * in force are YAML that could be loaded again. A secret is never printed.
 */
#include "config/print.h"

#include "base/json_writer.h"
#include "config/file.h"
#include "config/keys.h"
#include "config/load.h"
#include "config/upstreams.h"

#include <cjson/cJSON.h>
#include <curl/curl.h>
#include <cyaml/cyaml.h>
#include <microhttpd.h>
#include <string.h>
#include <uv.h>

#define HELP_COLUMNS 100
#define HELP_INDENT 46
#define TEXT_MAX 65536

/* What the documentation and the example show of the list of upstreams. */
static const char list_example[] = "upstreams:\n"
                                   "  - name: east\n"
                                   "    upstream: http://127.0.0.1:8001\n"
                                   "    upstream_weight: 3\n"
                                   "    upstream_fallback: spare\n"
                                   "  - name: west\n"
                                   "    upstream: http://127.0.0.1:8002\n"
                                   "    upstream_fallback: spare\n"
                                   "  - name: spare\n"
                                   "    upstream: http://127.0.0.1:8003/v1\n"
                                   "    upstream_kind: openai\n"
                                   "    upstream_weight: 0\n"
                                   "    upstream_canned_answer: Please try again later.\n";

/* Whether the key at `index` is the first of its group. */
static bool begins_group(size_t index) {
    return index == 0 || strcmp(config_keys[index].group, config_keys[index - 1].group) != 0;
}

/* ---- help --------------------------------------------------------------------------------------- */

/* Prints `text` in words, from the current column on, and begins new lines at `indent`. */
static void print_wrapped(FILE *out, const char *text, size_t column, size_t indent) {
    while (*text != '\0') {
        size_t word = strcspn(text, " ");
        if (column > indent && column + 1 + word > HELP_COLUMNS) {
            fprintf(out, "\n%*s", (int)indent, "");
            column = indent;
        } else if (column > indent) {
            fputc(' ', out);
            column++;
        }
        fwrite(text, 1, word, out);
        column += word;
        text += word + strspn(text + word, " ");
    }
    fputc('\n', out);
}

/* `value` is printed after the flag; "" prints nothing. */
static void print_option(FILE *out, const char *flag, const char *value, const char *text) {
    int column = fprintf(out, "  %s %s", flag, value);

    fprintf(out, "%*s", column < HELP_INDENT ? HELP_INDENT - column : 0, "");
    print_wrapped(out, text, HELP_INDENT, HELP_INDENT);
}

/* "N", or the words that are allowed: "json|text". */
static bool append_placeholder(struct buffer *text, const struct config_key *key) {
    if (key->choices == NULL)
        return buffer_append_text(text, key->type->placeholder);
    for (const struct config_choice *choice = key->choices; choice->name != NULL; choice++) {
        if (!buffer_printf(text, "%s%s", choice == key->choices ? "" : "|", choice->name))
            return false;
    }
    return true;
}

static void print_key_help(FILE *out, const struct config_key *key) {
    char flag[CONFIG_NAME_SIZE];
    struct buffer value;
    struct buffer text;

    config_key_flag(key, flag);
    buffer_init(&value, TEXT_MAX);
    buffer_init(&text, TEXT_MAX);
    if (append_placeholder(&value, key) && buffer_append_text(&text, key->meaning) &&
        (key->fallback[0] == '\0' || buffer_printf(&text, " [%s]", key->fallback)))
        print_option(out, flag, value.bytes, text.bytes);
    buffer_finish(&value);
    buffer_finish(&text);
}

void config_print_help(FILE *out) {
    fputs(
        "Usage: sluice [--config FILE] [--KEY VALUE]...\n\n"
        "An SSE streaming gateway: a run request becomes one stream that every client of the session "
        "sees.\n\n"
        "Each setting is a flag (--log-level), an environment variable (SLUICE_LOG_LEVEL) and a key of the\n"
        "configuration file (log_level). The flag wins over the variable, and the variable over the file.\n"
        "The default stands in brackets. --check-config prints the values in force. SIGHUP reads the file\n"
        "again. Several upstreams are a list in the file: docs/configuration.md shows one.\n\n",
        out);
    print_option(out, "--config", "FILE",
                 "Read settings from this YAML file. SLUICE_CONFIG names it as well.");
    for (size_t i = 0; i < config_action_flags_count; i++)
        print_option(out, config_action_flags[i].flag, "", config_action_flags[i].meaning);
    for (size_t i = 0; i < config_keys_count; i++) {
        if (begins_group(i))
            fprintf(out, "\n%s:\n", config_keys[i].group);
        print_key_help(out, &config_keys[i]);
    }
}

void config_print_version(FILE *out) {
    fprintf(out, "sluice %s\n", SLUICE_VERSION);
    fprintf(out, "libmicrohttpd %s, libcurl %s, libuv %s, cJSON %s, libcyaml %s\n", MHD_get_version(),
            curl_version_info(CURLVERSION_NOW)->version, uv_version_string(), cJSON_Version(),
            cyaml_version_str);
}

/* ---- documentation ------------------------------------------------------------------------------ */

static void print_key_row(FILE *out, const struct config_key *key) {
    struct buffer allowed;

    buffer_init(&allowed, TEXT_MAX);
    bool fits = key->type->allow(key, &allowed);
    fprintf(out, "| `%s` | %s | %s%s%s | %s | %s | %s |\n", key->name, fits ? allowed.bytes : "",
            key->fallback[0] != '\0' ? "`" : "", key->fallback[0] != '\0' ? key->fallback : "none",
            key->fallback[0] != '\0' ? "`" : "", key->reloadable ? "yes" : "restart",
            key->of_upstream ? "yes" : "", key->meaning);
    buffer_finish(&allowed);
}

static void print_list_docs(FILE *out) {
    fprintf(
        out,
        "\n## Several upstreams\n\n"
        "The keys that are marked *yes* under `%s` describe one upstream, which is named `default`. A "
        "list in the file describes several instead:\n\n"
        "```yaml\n%s```\n\n"
        "Each upstream has a `%s`, of 1 to %d letters, digits, `_` and `-`, and any of those keys. A key "
        "that "
        "the upstream does not give has the value from outside of the list, whichever source gives it. There "
        "are at most %d upstreams, and their names differ. A fallback is the name of another upstream, and "
        "no "
        "chain of fallbacks leads back to its beginning. At least one weight is above 0. A fallback that is "
        "named outside of the list applies to all upstreams except itself.\n\n"
        "A change in the list takes effect at the next start. A change outside of the list takes effect on "
        "SIGHUP for the upstreams that do not give that key themselves.\n",
        CONFIG_LIST_NAME, list_example, CONFIG_ITEM_NAME, CONFIG_UPSTREAM_NAME_MAX, CONFIG_UPSTREAMS_MAX);
}

void config_print_docs(FILE *out) {
    fputs(
        "# Configuration\n\n"
        "<!-- Written by `make docs` from the table in config/keys.c: change it there. -->\n\n"
        "Each setting has one name, such as `log_level` in the file. It can be given in three places:\n\n"
        "1. as a flag: `--log-level debug` or `--log-level=debug`. A flag of true or false may stand alone: "
        "`--cors-credentials`.\n"
        "2. in the environment: `SLUICE_LOG_LEVEL=debug`. An empty variable counts as not given. Other "
        "variables that begin with `SLUICE_` are ignored.\n"
        "3. in the YAML file that `--config FILE` or `SLUICE_CONFIG` names: `log_level: debug`. `null` or "
        "an empty value counts as not given.\n\n"
        "The flag wins over the environment, and the environment over the file. A setting that is given "
        "nowhere has its default. Lists are YAML lists in the file; elsewhere commas separate their items. "
        "The file holds one document of at most 1 MiB, without aliases, and each key once.\n\n"
        "For an unknown key or an invalid value the program prints one line and exits with status 2:\n\n"
        "```\n"
        "sluice.yaml:3: log_level: \"loud\" is not one of debug, info, warn, error\n"
        "SLUICE_RUNS_MAX: \"many\" is not a whole number from 1 to 1000000\n"
        "```\n\n"
        "`sluice --check-config` reads everything, prints each value with its source, and exits. For each "
        "upstream of the list it prints the keys that this upstream gives.\n\n"
        "SIGHUP reads all sources again. A change of a key with *yes* under SIGHUP applies to everything "
        "that "
        "begins afterwards. A change of a key with *restart* is logged and takes effect at the next start. "
        "If "
        "any source has an error, nothing changes, and the log reports the error.\n\n"
        "Without authentication Sluice refuses to listen on an address that other machines reach, unless "
        "`allow_unauthenticated` is true.\n",
        out);
    for (size_t i = 0; i < config_keys_count; i++) {
        if (begins_group(i))
            fprintf(out,
                    "\n## %s\n\n"
                    "| key | value | default | SIGHUP | `%s` | meaning |\n|---|---|---|---|---|---|\n",
                    config_keys[i].group, CONFIG_LIST_NAME);
        print_key_row(out, &config_keys[i]);
    }
    print_list_docs(out);
}

/* ---- YAML --------------------------------------------------------------------------------------- */

/* The character, with its length in UTF-8, that is no plain one in YAML: C1 control characters, which are or
 * were line ends there, U+2028, U+2029, the byte order mark, U+FFFE and U+FFFF. 0: it may stand as it is. */
static unsigned odd_character(const char *text, size_t *ret_length) {
    const unsigned char *bytes = (const unsigned char *)text;

    *ret_length = bytes[0] == 0xC2 ? 2 : 3;
    if (bytes[0] == 0xC2)
        return bytes[1] < 0xA0 ? bytes[1] : 0;
    if (bytes[0] != 0xE2 && bytes[0] != 0xEF)
        return 0;
    unsigned character = (bytes[0] & 0x0Fu) << 12 | (bytes[1] & 0x3Fu) << 6 | (bytes[2] & 0x3Fu);
    bool odd = character == 0x2028 || character == 0x2029 || character == 0xFEFF || character >= 0xFFFE;
    return odd ? character : 0;
}

/* JSON strings are YAML too, once those characters are escaped. */
static bool append_yaml_string(struct buffer *yaml, const char *text, size_t length) {
    struct buffer json;
    size_t plain = 0, odd_length; /* start of what needs no escape */

    buffer_init(&json, TEXT_MAX);
    bool fits = json_text_append_string(&json, text, length);
    for (size_t i = 0; fits && i < json.length; i++) {
        unsigned odd = odd_character(json.bytes + i, &odd_length);
        if (odd == 0)
            continue;
        fits = buffer_append(yaml, json.bytes + plain, i - plain) && buffer_printf(yaml, "\\u%04X", odd);
        plain = i + odd_length;
    }
    fits = fits && buffer_append(yaml, json.bytes + plain, json.length - plain);
    buffer_finish(&json);
    return fits;
}

static bool append_quoted(struct buffer *yaml, const char *text, size_t length, bool quoted) {
    return quoted ? append_yaml_string(yaml, text, length) : buffer_append(yaml, text, length);
}

/* Writes a value as its type formats it, as YAML. */
static bool append_yaml(struct buffer *yaml, const struct config_type *type, const char *text) {
    size_t length;

    if (!type->list)
        return text[0] == '\0' || append_quoted(yaml, text, strlen(text), type->quoted);
    if (!buffer_append_text(yaml, "["))
        return false;
    for (const char *item = text; *item != '\0'; item += length + (item[length] == ',')) {
        length = strcspn(item, ",");
        if ((item != text && !buffer_append_text(yaml, ", ")) ||
            !append_quoted(yaml, item, length, type->quoted))
            return false;
    }
    return buffer_append_text(yaml, "]");
}

static void print_yaml(FILE *out, const struct config_key *key, const char *text) {
    struct buffer yaml;

    buffer_init(&yaml, TEXT_MAX);
    if (append_yaml(&yaml, key->type, text))
        fprintf(out, "%s:%s%s", key->name, yaml.length > 0 ? " " : "", yaml.length > 0 ? yaml.bytes : "");
    buffer_finish(&yaml);
}

void config_print_example(FILE *out) {
    fputs("# Settings of sluice, with their defaults: remove a # to change one. docs/configuration.md lists\n"
          "# the allowed values and the settings that a SIGHUP changes. Check the result with\n"
          "#     sluice --config sluice.yaml --check-config\n",
          out);
    for (size_t i = 0; i < config_keys_count; i++) {
        if (begins_group(i))
            fprintf(out, "\n# ---- %s ----\n", config_keys[i].group);
        fprintf(out, "\n# %s\n#", config_keys[i].meaning);
        print_yaml(out, &config_keys[i], config_keys[i].fallback);
        fputc('\n', out);
    }
    fputs("\n# ---- Several upstreams ----\n\n"
          "# A list replaces the single upstream above. A key that an upstream does not give has its value "
          "from above.\n",
          out);
    for (const char *line = list_example; *line != '\0'; line += strcspn(line, "\n") + 1)
        fprintf(out, "# %.*s\n", (int)strcspn(line, "\n"), line);
}

/* Prints a key with its value and where that came from. */
static void print_value(const struct config *config, size_t upstream, size_t index, FILE *out) {
    const struct config_key *key = &config_keys[index];
    bool is_own = upstream != CONFIG_NO_UPSTREAM;
    const void *field =
        is_own ? config_upstream_field(config, upstream, key) : (const char *)config + key->offset;
    struct buffer text;

    buffer_init(&text, TEXT_MAX);
    if (key->type->format(key, field, &text)) {
        char source[CONFIG_SOURCE_SIZE];
        fputs(is_own ? "    " : "", out);
        if (key->secret && text.length > 0)
            fprintf(out, "#%s: (not shown)", key->name);
        else
            print_yaml(out, key, text.length > 0 ? text.bytes : "");
        config_source_describe(config, upstream, index, source);
        fprintf(out, "  # %s\n", source);
    }
    buffer_finish(&text);
}

void config_print_values(const struct config *config, FILE *out) {
    size_t listed = config->list != NULL ? config->list->count : 0;

    for (size_t i = 0; i < config_keys_count; i++)
        print_value(config, CONFIG_NO_UPSTREAM, i, out);
    if (listed > 0)
        fprintf(out, "%s:\n", CONFIG_LIST_NAME);
    for (size_t i = 0; i < listed; i++) {
        fprintf(out, "  - %s: \"%s\"  # %s:%u\n", CONFIG_ITEM_NAME, config->upstream_items[i].name,
                config->file, config->list->items[i].name.line);
        for (size_t k = 0; k < config_keys_count; k++) {
            if (config_source_own_text(config, i, k) != NULL)
                print_value(config, i, k, out);
        }
    }
}
