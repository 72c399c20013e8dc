/* What the program prints about its settings. Everything comes from the table of keys. */
#ifndef SLUICE_CONFIG_PRINT_H
#define SLUICE_CONFIG_PRINT_H

#include "config/config.h"

#include <stdio.h>

/** The answer to --help, at most 100 columns wide. */
void config_print_help(FILE *out);

/** The program's and the libraries' versions. */
void config_print_version(FILE *out);

/** docs/configuration.md. */
void config_print_docs(FILE *out);

/** scripts/sluice.example.yaml: all keys, commented out, with their defaults. */
void config_print_example(FILE *out);

/** The values in force, each with its source, as a file that could be loaded; secrets are left out. Of a list
 * of upstreams, what each gives itself. */
void config_print_values(const struct config *config, FILE *out);

#endif
