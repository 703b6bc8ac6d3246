/* What a flowrun plugin in C needs. It is a WASI command: its settings and paths come as arguments, its values go into a file.
   Part of your plugin. */
#ifndef FLOWRUN_H
#define FLOWRUN_H

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int flowrun_count;
static char **flowrun_arguments;
static FILE *flowrun_file;

/* Ends the step as failed; the message is the last line of its log. */
static void flowrun_fail(const char *format, ...) {
    va_list rest;
    va_start(rest, format);
    vfprintf(stderr, format, rest);
    va_end(rest);
    fputc('\n', stderr);
    exit(1);
}

/* The first thing in `main`. */
static void flowrun_start(int count, char **arguments) {
    flowrun_count = count;
    flowrun_arguments = arguments;
}

static const char *flowrun_find(const char *kind, const char *name) {
    size_t first = strlen(kind), second = strlen(name);
    for (int index = 1; index < flowrun_count; index++) {
        const char *at = flowrun_arguments[index];
        if (strncmp(at, kind, first) == 0 && strncmp(at + first, name, second) == 0 && at[first + second] == '=') {
            return at + first + second + 1;
        }
    }
    return NULL;
}

/* The path of an input: an existing file or folder. */
static const char *flowrun_input(const char *name) {
    const char *path = flowrun_find("--input.", name);
    if (!path) flowrun_fail("the step needs an input `%s`: name it under `inputs`", name);
    return path;
}

/* The path of an output: the file to write, or the existing, empty folder to fill. */
static const char *flowrun_output(const char *name) {
    const char *path = flowrun_find("--output.", name);
    if (!path) flowrun_fail("the step needs an output `%s`: name it under `outputs`", name);
    return path;
}

/* A setting of the step's `with`: a text as it is, anything else as JSON; `fallback` where it is not given. */
static const char *flowrun_with(const char *key, const char *fallback) {
    const char *value = flowrun_find("--with.", key);
    return value ? value : fallback;
}

static FILE *flowrun_values(const char *name) {
    if (flowrun_file) {
        fputs(", ", flowrun_file);
    } else if (!(flowrun_file = fopen("/out/values.json", "w"))) {
        flowrun_fail("cannot write the values");
    } else {
        fputc('{', flowrun_file);
    }
    fprintf(flowrun_file, "\"%s\": ", name);
    return flowrun_file;
}

/* A value of the step: a whole number. */
static void flowrun_value_integer(const char *name, long long value) {
    fprintf(flowrun_values(name), "%lld", value);
}

/* A value of the step: a number. */
static void flowrun_value_number(const char *name, double value) {
    fprintf(flowrun_values(name), "%.17g", value);
}

/* A value of the step: a text. */
static void flowrun_value_text(const char *name, const char *value) {
    FILE *file = flowrun_values(name);
    fputc('"', file);
    for (; *value; value++) {
        unsigned char byte = (unsigned char)*value;
        if (byte == '"' || byte == '\\') fputc('\\', file);
        if (byte < 32) fprintf(file, "\\u%04x", byte);
        else fputc(byte, file);
    }
    fputc('"', file);
}

/* What `main` returns when all went well. */
static int flowrun_end(void) {
    if (flowrun_file) {
        fputs("}\n", flowrun_file);
        if (fclose(flowrun_file) != 0) flowrun_fail("cannot write the values");
    }
    return 0;
}

#endif
