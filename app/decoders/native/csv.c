/* Records in canonical form (contract 6.2) out of CSV text in UTF-8.
 *
 * As in json.c: every row that is complete and as wide as the header is taken; at the first
 * one that is not, the decoder in Python says what is wrong, or reads what is only rare
 * (a carriage return by itself, a row that grows too large).
 */
#include "text.h"

enum { RECORD_MAX = 16 * 1024 * 1024 }; /* budget.py */

/* What a byte is to a cell that is not quoted, in the lower bits; to one that is, above. */
enum { PLAIN = 0, ENDS = 1, ESCAPED = 2, HIGH = 3, OPEN = 3, SHIFT = 2 };

struct cell {
    uint32_t start, length; /* in the input, without its quotes */
    uint32_t rough;         /* holds something that is not copied as it stands */
    uint32_t doubled;       /* quotes in it are doubled */
};

/* What all rows have in common. */
struct table {
    uint64_t columns;
    const uint32_t *order;     /* column at each place of the record; its names are sorted */
    const uint8_t *names;      /* before each cell: `{"name":"` or `","name":"` */
    const uint32_t *name_ends; /* in `names` */
    struct cell *cells;        /* room for a row */
    uint8_t delimiter, quote;  /* `quote` equal to `delimiter`: there is none */
};

struct row {
    const uint8_t *in, *end;
    uint32_t lines;
    uint64_t cells;
};

static void classify(uint8_t class[256], const struct table *t)
{
    int quote = t->quote != t->delimiter;
    for (int c = 0; c < 256; c++) {
        int own = c >= 0x80 ? HIGH : c < 0x20 || c == '"' || c == '\\' ? ESCAPED : PLAIN;
        int ends = c == '\n' || c == '\r';
        class[c] = (uint8_t)((c == t->delimiter || ends ? ENDS : own)
                             | (ends || (quote && c == t->quote) ? ENDS : own) << SHIFT);
    }
}

/* At a cell: pass it; the end of it is at `*at`. */
static enum stop plain_cell(struct row *r, const uint8_t *class, const uint8_t **at,
                            struct cell *cell)
{
    const uint8_t *p = *at;
    uint32_t rough = 0;
    for (;;) {
        while (p < r->end && (class[*p] & OPEN) == PLAIN)
            p++;
        if (p == r->end)
            return MORE;
        int what = class[*p] & OPEN;
        if (what == ENDS)
            break;
        int length = 1;
        if (what == HIGH) {
            length = utf8_length(p, r->end);
            if (length <= 0)
                return length ? ODD : MORE;
        }
        rough |= what == ESCAPED;
        p += length;
    }
    *cell = (struct cell){(uint32_t)(*at - r->in), (uint32_t)(p - *at), rough, 0};
    *at = p;
    return GOOD;
}

/* Behind the quote that opens a cell: pass it, and the quote that closes it. */
static enum stop quoted_cell(struct row *r, const uint8_t *class, uint8_t quote,
                             const uint8_t **at, struct cell *cell)
{
    const uint8_t *start = *at, *p = start;
    uint32_t rough = 0, doubled = 0;
    for (;;) {
        while (p < r->end && class[*p] >> SHIFT == PLAIN)
            p++;
        if (p == r->end)
            return MORE;
        int what = class[*p] >> SHIFT;
        if (what == HIGH) {
            int length = utf8_length(p, r->end);
            if (length <= 0)
                return length ? ODD : MORE;
            p += length;
        } else if (what == ESCAPED) {
            rough = 1;
            p++;
        } else if (*p == quote) {
            if (p + 1 == r->end)
                return MORE;
            if (p[1] != quote)
                break;
            rough = doubled = 1;
            p += 2;
        } else { /* a line end in the cell: kept, and counted */
            if (*p == '\r') {
                if (p + 1 == r->end)
                    return MORE;
                if (p[1] != '\n')
                    return ODD;
                p++;
            }
            rough = 1;
            r->lines++;
            p++;
        }
    }
    *cell = (struct cell){(uint32_t)(start - r->in), (uint32_t)(p - start), rough, doubled};
    *at = p + 1;
    return GOOD;
}

/* At a row that is not blank: pass it and its line end. */
static enum stop row(struct row *r, const uint8_t *class, const struct table *t,
                     const uint8_t **at)
{
    const uint8_t *p = *at;
    r->cells = 0;
    for (;;) {
        if (p == r->end)
            return MORE;
        if (r->cells == t->columns)
            return ODD;
        struct cell *cell = &t->cells[r->cells];
        enum stop stop;
        if (*p == t->quote && t->quote != t->delimiter) {
            p++;
            stop = quoted_cell(r, class, t->quote, &p, cell);
        } else {
            stop = plain_cell(r, class, &p, cell);
        }
        if (stop != GOOD)
            return stop;
        r->cells++;
        if (p == r->end)
            return MORE;
        if (*p == t->delimiter) {
            p++;
            continue;
        }
        if (*p == '\r') {
            if (p + 1 == r->end)
                return MORE;
            p++;
        }
        if (*p != '\n')
            return ODD;
        r->lines++;
        *at = p + 1;
        return r->cells == t->columns ? GOOD : ODD;
    }
}

/* Copy a few bytes; both sides have room for eight more, or `near` says that they may not. */
static inline uint8_t *put(uint8_t *out, const uint8_t *from, uint32_t length, int near)
{
    if (length <= 16 && !near) {
        memcpy(out, from, 8);
        memcpy(out + 8, from + 8, 8);
    } else {
        memcpy(out, from, length);
    }
    return out + length;
}

static uint8_t *put_rough(uint8_t *out, const uint8_t *p, const struct cell *cell, uint8_t quote)
{
    const uint8_t *end = p + cell->length;
    while (p < end) {
        uint8_t c = *p++;
        if (cell->doubled && c == quote)
            p++;
        if (c < 0x80)
            out = put_ascii(out, c);
        else
            *out++ = c;
    }
    return out;
}

/* Scan rows in `in[from:to]`, which begins at one, or at a blank line.
 *
 * `ends` receives where each record ends in `out`. `in` is followed by a byte that may be
 * read, as the bytes of Python are.
 */
int ackline_csv(const uint8_t *in, uint64_t from, uint64_t to, const struct table *table,
                uint8_t *out, uint32_t *ends, struct found *found)
{
    uint8_t class[256];
    struct row r = {in, in + to, 0, 0};
    const uint8_t *at = in + from;
    const uint64_t frame = table->name_ends[table->columns - 1] + 2;
    classify(class, table);
    found->records = found->unsafe_total = found->written = found->lines = 0;
    found->consumed = from;
    if (to > UINT32_MAX || found->out_max > UINT32_MAX)
        return FULL;
    for (;;) {
        if (at < r.end && *at == '\r' && at + 1 < r.end && at[1] == '\n')
            at++;
        if (at < r.end && *at == '\n') {
            at++;
            found->lines++;
            found->consumed = (uint64_t)(at - in);
            continue;
        }
        if (found->records == found->records_max)
            return FULL;
        const uint8_t *start = at;
        r.lines = 0;
        enum stop stop = row(&r, class, table, &at);
        if (stop != GOOD)
            return stop;
        /* Only what is rough grows: an escape has six bytes at most. */
        uint64_t need = frame + 6 * (uint64_t)(at - start) + 1 + 16;
        if (found->written + need > found->out_max)
            return FULL;
        uint8_t *o = out + found->written;
        if (found->records)
            *o++ = ',';
        uint32_t name = 0;
        for (uint64_t i = 0; i < table->columns; i++) {
            const struct cell *cell = &table->cells[table->order[i]];
            const uint8_t *text = in + cell->start;
            o = put(o, table->names + name, table->name_ends[i] - name, 0);
            name = table->name_ends[i];
            if (cell->rough)
                o = put_rough(o, text, cell, table->quote);
            else
                o = put(o, text, cell->length, r.end - text < 16);
        }
        *o++ = '"';
        *o++ = '}';
        if ((uint64_t)(o - out) - found->written > RECORD_MAX)
            return ODD;
        ends[found->records++] = (uint32_t)(o - out);
        found->written = (uint64_t)(o - out);
        found->lines += r.lines;
        found->consumed = (uint64_t)(at - in);
    }
}
