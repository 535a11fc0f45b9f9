/* Fuzzes the compiled scanners for what no judge of records sees: reads and writes out of
 * bounds, undefined behaviour, loops without end, and counts that do not fit each other.
 *
 *     native SEED EXECUTIONS [FILE...]
 *
 * An execution makes one text, out of a file or of a small grammar, damages it and scans it in
 * several ways. Its number is all the chance it has: that of the first is SEED, and each has
 * the next one, so `native NUMBER 1 FILE...` repeats a single one. Files whose names end with
 * `.csv` are for CSV, the others for JSON. To be compiled together with the scanners, under
 * AddressSanitizer and UndefinedBehaviorSanitizer: native.py does.
 */
#define _XOPEN_SOURCE 700
#include "native_judge.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/time.h>

#ifndef HANG_S
#define HANG_S 10 /* CPU seconds for BREATH executions, which take milliseconds */
#endif

enum { BREATH = 256, FILES_MAX = 100, FILE_MAX = 8 * 1024 };
enum { COLUMNS_MAX = 600, CELL_BYTES = 16, NAMES_BEHIND = 16 };

static struct {
    uint8_t bytes[FILE_MAX];
    size_t length;
    int csv;
} files[FILES_MAX];
static uint32_t file_count;

/* ---- the sanitizers */

const char *__asan_default_options(void);
const char *__ubsan_default_options(void);

/* Each block is used for one scan and given back: nothing is learnt from where it came from or
 * by keeping it for long, and there is more time for executions. */
const char *__asan_default_options(void)
{
    return "abort_on_error=1:detect_leaks=0:malloc_context_size=1:quarantine_size_mb=1:"
           "thread_local_quarantine_size_kb=64:max_malloc_fill_size=0";
}

const char *__ubsan_default_options(void)
{
    return "abort_on_error=1:print_stacktrace=1";
}

/* All that ends an execution comes here: the sanitizers abort, and so does `must`. */
static void stopped(int number)
{
    report(number == SIGVTALRM ? "it does not end" : reason);
    signal(number, SIG_DFL);
    raise(number);
}

/* Little stack, so that a recursion without a limit is seen. */
static void limit_stack(void)
{
    struct rlimit limit;
    getrlimit(RLIMIT_STACK, &limit);
    limit.rlim_cur = 1024 * 1024;
    setrlimit(RLIMIT_STACK, &limit);
}

static void breathe(void)
{
    const struct itimerval left = {.it_value = {.tv_sec = HANG_S}};
    setitimer(ITIMER_VIRTUAL, &left, NULL);
}

/* ---- the parts of a case */

/* Names that sort as they are numbered, the first one empty now and then. */
static void make_names(struct table *t)
{
    uint8_t *names = malloc(t->columns * 40 + NAMES_BEHIND);
    uint32_t *ends = malloc(t->columns * sizeof *ends), written = 0;
    for (uint32_t i = 0; i < t->columns; i++) {
        char name[24] = "";
        if (i || !one_in(4)) {
            uint32_t tail = one_in(2) ? 0 : below(21);
            name[0] = (char)('a' + i / 26);
            name[1] = (char)('a' + i % 26);
            memset(name + 2, 'x', tail);
        }
        written += (uint32_t)sprintf((char *)names + written, "%s\"%s\":\"", i ? "\"," : "{", name);
        ends[i] = written;
    }
    /* `put` in csv.c copies 16 bytes of a name that is shorter. */
    t->names = realloc(names, written + NAMES_BEHIND);
    t->name_ends = ends;
}

static struct table make_table(uint32_t columns, uint8_t delimiter, uint8_t quote)
{
    struct table t = {.columns = columns, .delimiter = delimiter, .quote = quote};
    uint32_t *order = malloc(columns * sizeof *order);
    for (uint32_t i = 0; i < columns; i++) {
        uint32_t other = below(i + 1);
        order[i] = order[other];
        order[other] = i;
    }
    t.order = order;
    t.cells = malloc(columns * CELL_BYTES);
    make_names(&t);
    return t;
}

static void release_table(struct table *t)
{
    free((void *)t->order);
    free((void *)t->names);
    free((void *)t->name_ends);
    free(t->cells);
}

/* Any character of ASCII but a line end may be either of them, if not both. */
static uint8_t any_mark(const char *usual)
{
    uint8_t mark = (uint8_t)usual[below((uint32_t)strlen(usual))];
    if (one_in(8))
        mark = (uint8_t)below(128);
    return mark == '\n' || mark == '\r' ? '|' : mark;
}

static int take_file(int csv)
{
    for (int tries = 0; file_count && tries < 4; tries++) {
        uint32_t chosen = below(file_count);
        if (files[chosen].csv != csv && tries < 3)
            continue;
        insert(0, files[chosen].bytes, files[chosen].length);
        return 1;
    }
    return 0;
}

static uint32_t columns_of_first_line(uint8_t delimiter)
{
    uint32_t columns = 1;
    for (size_t i = 0; i < made_length && made[i] != '\n' && columns < COLUMNS_MAX; i++)
        columns += made[i] == delimiter;
    return columns;
}

static void make_csv_case(struct job *job, int from_file)
{
    uint8_t delimiter = any_mark(",,,,;\t|a"), quote = any_mark("\"\"\"\"'b");
    uint32_t columns = one_in(30) ? 1 + below(60) : 1 + below(5);
    if (one_in(1000))
        columns = 1 + below(COLUMNS_MAX);
    if (one_in(8))
        quote = delimiter; /* none */
    if (from_file && take_file(1))
        columns = one_in(8) ? columns : columns_of_first_line(delimiter);
    else
        make_csv(columns, (char)delimiter, (char)quote);
    job->table = make_table(columns, delimiter, quote);
}

static void make_json_case(struct job *job, int from_file)
{
    job->flags = below(16);
    if (!from_file || !take_file(0))
        make_json(job->flags & LINES);
}

/* Mostly where a record may begin, but the scanners must bear any place. */
static void choose_bounds(struct job *job)
{
    const uint8_t *open = memchr(made, '[', made_length);
    if (!job->csv && !(job->flags & LINES) && open && !one_in(8))
        job->from = (uint64_t)(open - made) + 1;
    if (one_in(8))
        job->from = below((uint32_t)made_length + 1);
    job->to = made_length;
    if (one_in(4))
        job->to -= below((uint32_t)(job->to - job->from + 1));
}

/* ---- one execution */

static void execute(void)
{
    static const uint32_t DAMAGES[] = {0, 0, 1, 1, 1, 2, 3, 5, 9};
    struct job job = {.text = made};
    chance = execution;
    made_length = 0;
    job.csv = one_in(2);
    if (job.csv)
        make_csv_case(&job, one_in(3));
    else
        make_json_case(&job, one_in(3));
    for (uint32_t left = ANY(DAMAGES); left; left--) {
        uint32_t other = file_count ? below(file_count) : 0;
        damage(files[other].bytes, files[other].length);
    }
    choose_bounds(&job);
    struct outcome whole = scan(&job, all(&job), roomy(&job) + (one_in(2) ? 54 : 0));
    check_pieces(&job, &whole);
    check_limits(&job, &whole);
    check_again(&job, &whole);
    if (!job.csv)
        check_forms(&job, &whole);
    release(&whole);
    if (job.csv)
        release_table(&job.table);
}

static void load(const char *path)
{
    FILE *file = file_count < FILES_MAX ? fopen(path, "rb") : NULL;
    if (!file) {
        fprintf(stderr, "cannot take %s\n", path);
        exit(2);
    }
    size_t name = strlen(path);
    files[file_count].length = fread(files[file_count].bytes, 1, FILE_MAX, file);
    files[file_count].csv = name > 4 && strcmp(path + name - 4, ".csv") == 0;
    file_count++;
    fclose(file);
}

int main(int count, char **arguments)
{
    static char told[64 * 1024]; /* a report from a signal must not ask for memory */
    if (count < 3) {
        fprintf(stderr, "usage: native SEED EXECUTIONS [FILE...]\n");
        return 2;
    }
    for (int i = 3; i < count; i++)
        load(arguments[i]);
    setvbuf(stdout, told, _IOFBF, sizeof told);
    limit_stack();
    signal(SIGABRT, stopped);
    signal(SIGVTALRM, stopped);
    execution = strtoull(arguments[1], NULL, 10);
    const uint64_t executions = strtoull(arguments[2], NULL, 10);
    for (uint64_t done = 0; done < executions; done++, execution++) {
        if (done % BREATH == 0)
            breathe();
        execute();
    }
    return 0;
}
