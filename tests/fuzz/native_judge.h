/* Scans a text in several ways, and aborts with a report when what they give does not fit
 * together, or not the promises in text.h, json.c and csv.c.
 *
 * Every block of memory is as large as promised and not a byte larger, so that the sanitizers
 * see the first one too many.
 */
#ifndef ACKLINE_FUZZ_JUDGE_H
#define ACKLINE_FUZZ_JUDGE_H

#include <inttypes.h>
#include <sanitizer/asan_interface.h>
#include <stdlib.h>

#include "native_text.h"
#include "text.h"

#if ACKLINE_ABI != 2
#error "The scanners are called in another way now: what follows has to go along."
#endif

enum { LINES = 1, VERBATIM = 2, UNSAFE_IS_ODD = 4, DUPLICATE_IS_ODD = 8 }; /* tokens.h */
enum { MEMBERS_MAX = 4096 };                                               /* likewise */

struct table { /* csv.c */
    uint64_t columns;
    const uint32_t *order;
    const uint8_t *names;
    const uint32_t *name_ends;
    void *cells;
    uint8_t delimiter, quote;
};

int ackline_json(const uint8_t *in, uint64_t from, uint64_t to, unsigned flags, uint8_t *out,
                 uint8_t *spare, uint32_t *ends, uint32_t *unsafe, struct found *found);
int ackline_csv(const uint8_t *in, uint64_t from, uint64_t to, const struct table *table,
                uint8_t *out, uint32_t *ends, struct found *found);

/* What is scanned, and how. */
struct job {
    const uint8_t *text;
    uint64_t from, to;
    int csv;
    unsigned flags;     /* JSON */
    struct table table; /* CSV */
};

/* What a scan gave. */
struct outcome {
    enum stop stop;
    struct found found;
    uint8_t *out;
    uint32_t *ends, *unsafe;
};

static uint64_t execution;
static struct job now; /* what is scanned or compared, for the report */
static const char *reason = "the sanitizer says what";

/* ---- what is said when something is wrong */

static void report(const char *what)
{
    printf("BROKEN execution %" PRIu64 ": %s\n", execution, what);
    if (now.csv)
        printf("csv delimiter %d, quote %d, %" PRIu64 " columns", now.table.delimiter,
               now.table.quote, now.table.columns);
    else
        printf("json flags %u", now.flags);
    printf(", scanned [%" PRIu64 ":%" PRIu64 "] of\n", now.from, now.to);
    for (uint64_t i = 0; now.text && i < now.to; i++)
        printf("%02x", now.text[i]);
    printf("\n");
    fflush(stdout);
}

static void must(int holds, const char *what)
{
    if (holds)
        return;
    reason = what;
    abort(); /* whoever runs this calls `report` */
}

/* ---- one scan */

static uint64_t count_of(uint8_t byte, const uint8_t *p, uint64_t length)
{
    uint64_t count = 0;
    for (uint64_t i = 0; i < length; i++)
        count += p[i] == byte;
    return count;
}

static uint64_t frame_of(const struct table *t)
{
    return t->name_ends[t->columns - 1] + 2;
}

/* Bytes of `out` with which a scan is never FULL for want of room. For JSON that is the least
 * that is taken at all, for CSV it follows from the room that is asked for before each row. */
static uint64_t roomy(const struct job *job)
{
    uint64_t length = job->to - job->from;
    if (!job->csv)
        return length + 10;
    uint64_t rows = count_of('\n', job->text + job->from, length) + 1;
    return 6 * length + rows * (frame_of(&job->table) + 17);
}

/* More records than there can be. */
static uint64_t all(const struct job *job)
{
    return job->to - job->from + 1;
}

static void check_records(const struct outcome *o)
{
    const struct found *f = &o->found;
    uint64_t last = 0, unsafe = 0;
    for (uint64_t i = 0; i < f->records; i++) {
        must(o->ends[i] <= f->written, "a record ends behind what was written");
        must(o->ends[i] > last + (i > 0), "a record has no bytes");
        must(i == 0 || o->out[last] == ',', "no comma between two records");
        last = o->ends[i];
        unsafe += o->unsafe ? o->unsafe[i] : 0;
    }
    must(last == f->written, "the last record ends before what was written");
    must(unsafe == f->unsafe_total, "unsafe numbers do not add up");
}

static void check_counts(const struct job *job, const struct outcome *o, uint64_t records_max,
                         uint64_t out_max)
{
    const struct found *f = &o->found;
    int in_array = !job->csv && !(job->flags & LINES);
    must((unsigned)o->stop <= BARE, "an unknown reason to stop");
    must(in_array || (o->stop != CLOSED && o->stop != BARE), "an array ends where there is none");
    must(f->records_max == records_max && f->out_max == out_max, "the limits were changed");
    must(f->records <= records_max, "more records than there is room for");
    must(f->written + (job->csv || !f->records ? 0 : 8) <= out_max, "more bytes than room");
    must(f->consumed >= job->from && f->consumed <= job->to, "consumed lies outside");
    must(!f->records || f->consumed > job->from, "records out of nothing");
    must(f->lines == count_of('\n', job->text + job->from, f->consumed - job->from),
         "lines are counted wrongly");
    if (!job->csv && out_max < roomy(job))
        must(o->stop == FULL && f->consumed == job->from, "JSON is scanned without the room");
    else if (o->stop == FULL && f->records < records_max)
        must(job->csv && out_max < roomy(job), "FULL, and there is room");
    check_records(o);
}

/* Scan in blocks of exactly the promised size; nobody may look before `from` either. What lies
 * in them, and in the one byte behind the text that csv.c may read, is up to chance: nothing may
 * depend on it. */
static struct outcome scan(const struct job *job, uint64_t records_max, uint64_t out_max)
{
    struct outcome o = {.found = {.records_max = records_max, .out_max = out_max}};
    uint8_t fill = (uint8_t)below(256);
    uint8_t *in = malloc(job->to + (uint64_t)job->csv);
    memcpy(in, job->text, job->to);
    if (job->csv)
        in[job->to] = fill;
    o.out = malloc(out_max);
    memset(o.out, fill, out_max);
    o.ends = malloc(records_max * sizeof *o.ends);
    now = *job;
    ASAN_POISON_MEMORY_REGION(in, job->from);
    if (job->csv) {
        o.stop = (enum stop)ackline_csv(in, job->from, job->to, &job->table, o.out, o.ends,
                                        &o.found);
    } else {
        uint8_t *spare = malloc(out_max);
        o.unsafe = malloc(records_max * sizeof *o.unsafe);
        o.stop = (enum stop)ackline_json(in, job->from, job->to, job->flags, o.out, spare, o.ends,
                                         o.unsafe, &o.found);
        free(spare);
    }
    ASAN_UNPOISON_MEMORY_REGION(in, job->from);
    free(in);
    check_counts(job, &o, records_max, out_max);
    return o;
}

static void release(struct outcome *o)
{
    free(o->out);
    free(o->ends);
    free(o->unsafe);
}

/* ---- what several scans must agree on */

/* The records of `part` are those of `whole` from number `first` on. */
static void check_part(const struct outcome *whole, uint64_t first, const struct outcome *part)
{
    uint64_t count = part->found.records, begin = first ? whole->ends[first - 1] + 1 : 0;
    if (!count)
        return;
    must(first + count <= whole->found.records, "a part has more records than the whole");
    for (uint64_t i = 0; i < count; i++)
        must(part->ends[i] + begin == whole->ends[first + i], "a record has another length");
    must(memcmp(part->out, whole->out + begin, part->found.written) == 0, "a record differs");
}

static void check_unsafe(const struct outcome *whole, uint64_t first, const struct outcome *part)
{
    for (uint64_t i = 0; part->unsafe && i < part->found.records; i++)
        must(part->unsafe[i] == whole->unsafe[first + i], "a record has other unsafe numbers");
}

static void check_same(const struct outcome *whole, const struct outcome *other)
{
    must(other->found.records == whole->found.records, "another number of records");
    must(other->found.consumed == whole->found.consumed, "it ends elsewhere");
    must(other->found.unsafe_total == whole->found.unsafe_total, "other unsafe numbers");
    must(other->stop == whole->stop, "it stops for another reason");
}

/* Behind a record that was BARE: pass its separator, as the caller does with more of the text
 * in sight. */
static enum stop pass_separator(const struct job *job, uint64_t *at)
{
    uint64_t p = *at;
    while (p < job->to && strchr(" \t\r\n", job->text[p]) && job->text[p])
        p++;
    if (p == job->to || (job->text[p] != ',' && job->text[p] != ']'))
        return BARE;
    *at = p + 1;
    return job->text[p] == ',' ? MORE : CLOSED;
}

/* Where the next piece ends that begins at `from`: often at the end of all. */
static uint64_t next_end(const struct job *job, uint64_t from)
{
    return job->to - (one_in(2) ? 0 : below((uint32_t)(job->to - from + 1)) / 2);
}

/* Scan as a reader of blocks does: up to some place, then from where that ended; now and then
 * a few records at a time, or with little room. A scan that stops for MORE goes on with more,
 * one that is BARE behind the separator, one that is FULL with an empty `out`. In the end that
 * is the same records, the same place and the same reason to stop as of all at once. */
static void check_pieces(const struct job *job, const struct outcome *whole)
{
    struct job piece = *job;
    uint64_t taken = 0;
    int tight = job->csv && one_in(2);
    piece.to = job->from + below((uint32_t)(job->to - job->from + 1));
    for (;;) {
        uint64_t room = roomy(&piece), records_max = one_in(2) ? all(&piece) : 1 + below(3);
        struct outcome o = scan(&piece, records_max, tight ? below((uint32_t)room + 1) : room);
        check_part(whole, taken, &o);
        check_unsafe(whole, taken, &o);
        taken += o.found.records;
        tight = tight && o.found.records;
        piece.from = o.found.consumed;
        enum stop stop = o.stop == BARE ? pass_separator(job, &piece.from) : o.stop;
        int at_end = piece.to == job->to && o.stop != BARE;
        release(&o);
        if (stop == MORE && !at_end) {
            piece.to = next_end(job, piece.from);
        } else if (stop != FULL) {
            now = *job;
            must(taken == whole->found.records, "in pieces there are fewer records");
            must(piece.from == whole->found.consumed, "in pieces it ends elsewhere");
            must(stop == whole->stop, "in pieces it stops for another reason");
            return;
        }
    }
}

/* With less room or fewer entries than the text needs. */
static void check_limits(const struct job *job, const struct outcome *whole)
{
    uint64_t room = roomy(job), records_max = below((uint32_t)whole->found.records + 2);
    if (job->csv)
        room = below((uint32_t)room + 1);
    else if (one_in(4))
        room -= 1 + below(one_in(2) ? 1 : (uint32_t)room);
    struct outcome o = scan(job, records_max, room);
    check_part(whole, 0, &o);
    check_unsafe(whole, 0, &o);
    if (o.stop != FULL)
        check_same(whole, &o);
    release(&o);
}

/* What was written is JSON in canonical form, or the text's own: as an array it gives itself.
 * Not asked where members are so many that it matters in which order they are opened. */
static void check_again(const struct job *job, const struct outcome *whole)
{
    uint64_t length = whole->found.written;
    if (!length || count_of(':', whole->out, length) >= MEMBERS_MAX)
        return;
    uint8_t *text = malloc(length + 1);
    memcpy(text, whole->out, length);
    text[length] = ']';
    struct job again = {.text = text, .to = length + 1};
    again.flags = job->csv ? UNSAFE_IS_ODD | DUPLICATE_IS_ODD : job->flags & ~(unsigned)LINES;
    struct outcome o = scan(&again, whole->found.records, roomy(&again));
    check_part(whole, 0, &o);
    must(o.found.records == whole->found.records && o.stop == CLOSED, "it is no array of records");
    must(o.found.consumed == length + 1, "the array ends elsewhere");
    /* Of a key that is there twice the first number was counted, and is gone. */
    must(job->csv || o.found.unsafe_total <= whole->found.unsafe_total, "more unsafe numbers");
    now = *job;
    release(&o);
    free(text);
}

/* The records' own bytes: slices of the text, with nothing but separators between them. */
static void check_slices(const struct job *job, const struct outcome *verbatim)
{
    uint64_t p = job->from, start = 0;
    for (uint64_t i = 0; i <= verbatim->found.records; i++) {
        uint64_t end = verbatim->found.consumed;
        while (p < end && job->text[p] && strchr(" \t\r\n,]", job->text[p]))
            p++;
        if (i == verbatim->found.records)
            break;
        uint64_t length = verbatim->ends[i] - start;
        must(p + length <= end && memcmp(job->text + p, verbatim->out + start, length) == 0,
             "a record is no slice of the text");
        p += length;
        start = verbatim->ends[i] + 1;
    }
    must(p == verbatim->found.consumed, "something between the records was lost");
}

/* In canonical form and verbatim: the same records, unless one is odd only where it is sorted. */
static void check_forms(const struct job *job, const struct outcome *whole)
{
    struct job other = *job;
    other.flags ^= VERBATIM;
    struct outcome o = scan(&other, all(job), roomy(job));
    const struct outcome *verbatim = job->flags & VERBATIM ? whole : &o;
    const struct outcome *canonical = job->flags & VERBATIM ? &o : whole;
    if (canonical->stop != ODD) {
        check_same(canonical, verbatim);
        must(canonical->found.written <= verbatim->found.written, "longer than the text's own");
    }
    must(canonical->found.consumed <= verbatim->found.consumed, "verbatim ends earlier");
    check_slices(job, verbatim);
    release(&o);
}

#endif
