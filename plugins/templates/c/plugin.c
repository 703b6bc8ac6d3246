/* {{summary}} */

#include "flowrun.h"

int main(int count, char **arguments) {
    flowrun_start(count, arguments);
    FILE *names = fopen(flowrun_input("names"), "r");
    FILE *greetings = fopen(flowrun_output("greetings"), "w");
    if (!names || !greetings) flowrun_fail("cannot open the files");
    const char *greeting = flowrun_with("greeting", "hello");
    long long greeted = 0;
    char line[4096];
    while (fgets(line, sizeof line, names)) {
        char *name = line + strspn(line, " \t\r\n");
        size_t length = strlen(name);
        while (length > 0 && strchr(" \t\r\n", name[length - 1])) name[--length] = 0;
        if (length == 0) continue;
        fprintf(greetings, "%s %s\n", greeting, name);
        greeted++;
    }
    if (fclose(greetings) != 0) flowrun_fail("cannot write the greetings");
    if (greeted == 0) flowrun_fail("bad input: no names in the file");
    flowrun_value_integer("count", greeted);
    return flowrun_end();
}
