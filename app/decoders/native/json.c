/* Records in canonical form (contract 6.2 to 6.4) out of JSON text, without making objects.
 *
 * Takes every record that is complete, valid and of a usual form. At the first one that is
 * not, it stops before it: the decoders in Python, which say what is wrong and where, read
 * that record, and call again behind it. So the two never have to agree on an error, only
 * on the bytes of a good record; tests compare them on random texts.
 */
#include "pass.h"

static enum stop value(struct scan *s, int depth);

/* After a value: pass a comma, or the closing byte. CLOSED: it was the latter. */
static enum stop separator(struct scan *s, uint8_t close)
{
    if (space(s) == MORE)
        return MORE;
    uint8_t c = *s->at;
    if (c != ',' && c != close)
        return ODD;
    s->at++;
    *s->next++ = c;
    return c == close ? CLOSED : GOOD;
}

static enum stop array(struct scan *s, int depth)
{
    s->at++;
    *s->next++ = '[';
    if (space(s) == MORE)
        return MORE;
    if (*s->at == ']') {
        s->at++;
        *s->next++ = ']';
        return GOOD;
    }
    for (;;) {
        if (space(s) == MORE)
            return MORE;
        enum stop stop = value(s, depth);
        if (stop != GOOD)
            return stop;
        stop = separator(s, ']');
        if (stop != GOOD)
            return stop == CLOSED ? GOOD : stop;
    }
}

/* Contract 6.2: by code point, which for UTF-8 is by byte. */
static inline int compare(const struct scan *s, const struct member *a, const struct member *b)
{
    if (a->prefix != b->prefix)
        return a->prefix < b->prefix ? -1 : 1;
    uint32_t shorter = a->length < b->length ? a->length : b->length;
    int order = memcmp(s->out + a->key + 1, s->out + b->key + 1, shorter);
    return order ? order : (a->length > b->length) - (a->length < b->length);
}

static int is_order(const struct scan *s, const struct member *m, const uint16_t *order, uint32_t n)
{
    for (uint32_t i = 1; i < n; i++)
        if (compare(s, &m[order[i - 1]], &m[order[i]]) >= 0)
            return 0;
    return 1;
}

/* Merge sort, stable: of equal keys the last stays last. `order` and `other` have n entries. */
static void sort(const struct scan *s, const struct member *m, uint16_t *order, uint16_t *other,
                 uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        order[i] = (uint16_t)i;
    for (uint32_t width = 1; width < n; width *= 2) {
        for (uint32_t low = 0; low < n; low += 2 * width) {
            uint32_t mid = low + width < n ? low + width : n;
            uint32_t high = low + 2 * width < n ? low + 2 * width : n;
            for (uint32_t a = low, b = mid, k = low; k < high; k++)
                if (a < mid && (b == high || compare(s, &m[order[a]], &m[order[b]]) <= 0))
                    other[k] = order[a++];
                else
                    other[k] = order[b++];
        }
        memcpy(order, other, n * sizeof *order);
    }
}

/* Put the n members that begin at `first` in `out` into order. */
static enum stop arrange(struct scan *s, const struct member *m, uint32_t n, int depth)
{
    uint16_t sorted[MEMBERS_MAX], other[MEMBERS_MAX], *order = sorted;
    int known = depth < ORDERS && n <= ORDER_MAX;
    if (known && s->order_of[depth] == n && is_order(s, m, s->order[depth], n)) {
        order = s->order[depth];
    } else {
        sort(s, m, sorted, other, n);
        if (known) {
            memcpy(s->order[depth], sorted, n * sizeof *sorted);
            s->order_of[depth] = (uint16_t)n;
        }
    }
    uint8_t *to = s->spare;
    for (uint32_t i = 0; i < n; i++) {
        const struct member *member = &m[order[i]];
        if (i + 1 < n && order == sorted && compare(s, member, &m[order[i + 1]]) == 0) {
            if (s->flags & DUPLICATE_IS_ODD)
                return ODD;
            continue; /* the last one wins */
        }
        size_t length = member->end - member->key;
        memcpy(to, s->out + member->key, length);
        to += length;
        *to++ = ',';
    }
    size_t length = (size_t)(to - s->spare) - 1;
    memcpy(s->out + m[0].key, s->spare, length);
    s->next = s->out + m[0].key + length;
    return GOOD;
}

/* The first eight bytes of a key as a number that sorts as they do. No key holds a NUL. */
static inline uint64_t prefix_of(const uint8_t *key, uint32_t length)
{
    uint64_t prefix = 0;
    for (int i = 0; i < 8; i++) /* compilers make one load of it */
        prefix = prefix << 8 | key[i];
    return length >= 8 ? prefix : length ? prefix >> (64 - 8 * length) << (64 - 8 * length) : 0;
}

/* At the quote of a key: pass it, and remember it where members are put into order. */
static enum stop key(struct scan *s, uint32_t first, int *in_order)
{
    if (s->members == MEMBERS_MAX)
        return ODD;
    struct member *m = &s->stack[s->members];
    m->key = (uint32_t)(s->next - s->out);
    enum stop stop = string(s);
    if (stop != GOOD)
        return stop;
    m->length = (uint32_t)(s->next - s->out) - m->key - 2;
    if (s->escaped)
        return ODD; /* it sorts by what it means, not by what it is written as */
    m->prefix = prefix_of(s->out + m->key + 1, m->length);
    if (*in_order && s->members > first)
        *in_order = compare(s, m - 1, m) < 0;
    s->members++;
    return GOOD;
}

static enum stop object(struct scan *s, int depth)
{
    uint32_t first = s->members;
    int in_order = 1;
    s->at++;
    *s->next++ = '{';
    if (space(s) == MORE)
        return MORE;
    if (*s->at == '}') {
        s->at++;
        *s->next++ = '}';
        return GOOD;
    }
    for (;;) {
        if (space(s) == MORE)
            return MORE;
        if (*s->at != '"')
            return ODD;
        const uint32_t own = s->members;
        enum stop stop = key(s, first, &in_order);
        if (stop != GOOD)
            return stop;
        if (space(s) == MORE)
            return MORE;
        if (*s->at != ':')
            return ODD;
        s->at++;
        *s->next++ = ':';
        if (space(s) == MORE)
            return MORE;
        stop = value(s, depth);
        if (stop != GOOD)
            return stop;
        s->stack[own].end = (uint32_t)(s->next - s->out);
        stop = separator(s, '}');
        if (stop == GOOD)
            continue;
        if (stop != CLOSED)
            return stop;
        if (!in_order) {
            stop = arrange(s, &s->stack[first], s->members - first, depth);
            if (stop != GOOD)
                return stop;
            *s->next++ = '}';
        }
        s->members = first;
        return GOOD;
    }
}

static enum stop value(struct scan *s, int depth)
{
    switch (*s->at) {
    case '"':
        return string(s);
    case '{':
        return depth == DEPTH_MAX ? ODD : object(s, depth + 1);
    case '[':
        return depth == DEPTH_MAX ? ODD : array(s, depth + 1);
    case 't':
        return word(s, "true", 4);
    case 'f':
        return word(s, "false", 5);
    case 'n':
        return word(s, "null", 4);
    default:
        return number(s);
    }
}

/* Behind a record: pass what separates it from the next one. */
static enum stop record_end(struct scan *s)
{
    if (space(s) == MORE)
        return MORE;
    uint8_t c = *s->at;
    if (s->flags & LINES ? c != '\n' : c != ',' && c != ']')
        return ODD;
    s->at++;
    return c == ']' ? CLOSED : GOOD;
}

/* Is a value with this last byte complete, whatever follows? A number or a word is not. */
static int ends_itself(uint8_t last)
{
    return last == '}' || last == ']' || last == '"';
}

static enum stop scan_records(struct scan *s, const uint8_t *in, uint32_t *ends,
                              uint32_t *unsafe, struct found *found)
{
    const int passes = (s->flags & (VERBATIM | DUPLICATE_IS_ODD)) == VERBATIM;
    struct keys keys;
    if (passes)
        memset(&keys, 0, sizeof keys);
    for (;;) {
        const uint8_t *line = s->at;
        enum stop stop = space(s);
        if (stop == MORE)
            return MORE;
        if (s->flags & LINES && *s->at == '\n') {
            s->at++;
            found->consumed = (uint64_t)(s->at - in);
            continue;
        }
        if (found->records == found->records_max)
            return FULL;
        const uint8_t *start = s->at;
        uint8_t *begin = s->out + found->written;
        if (found->records)
            *begin++ = ',';
        s->next = begin;
        s->members = s->unsafe = 0;
        stop = passes ? pass(s, &keys) : value(s, 0);
        if (stop != GOOD)
            return stop;
        const uint8_t *behind = s->at;
        stop = record_end(s);
        if (stop != GOOD && stop != CLOSED) {
            if (s->flags & LINES || !ends_itself(behind[-1]))
                return stop;
            s->at = behind;
            stop = BARE;
        }
        if ((s->flags & LINES ? s->at - 1 - line : behind - start) > RECORD_MAX)
            return ODD;
        if (s->flags & VERBATIM) {
            memcpy(begin, start, (size_t)(behind - start));
            s->next = begin + (behind - start);
        }
        ends[found->records] = (uint32_t)(s->next - s->out);
        unsafe[found->records] = s->unsafe;
        found->records++;
        found->unsafe_total += s->unsafe;
        found->written = (uint64_t)(s->next - s->out);
        found->consumed = (uint64_t)(s->at - in);
        if (stop != GOOD)
            return stop;
    }
}

static uint64_t line_feeds(const uint8_t *p, const uint8_t *end)
{
    uint64_t count = 0;
    while (p < end && (p = memchr(p, '\n', (size_t)(end - p)))) {
        count++;
        p++;
    }
    return count;
}

/* Scan records in `in[from:to]`, which begins at one.
 *
 * `out` and `spare` have `found->out_max` bytes each, of which eight are never used up;
 * `ends` receives where each record ends in `out`, `unsafe` its unsafe numbers.
 */
int ackline_json(const uint8_t *in, uint64_t from, uint64_t to, unsigned flags, uint8_t *out,
                 uint8_t *spare, uint32_t *ends, uint32_t *unsafe, struct found *found)
{
    struct scan s;
    s.at = in + from;
    s.end = in + to;
    s.out = s.next = out;
    s.spare = spare;
    s.flags = flags;
    memset(s.order_of, 0, sizeof s.order_of);
    found->records = found->unsafe_total = found->written = found->lines = 0;
    found->consumed = from;
    /* The canonical form is never longer than the source. */
    if (to - from + 8 + 2 > found->out_max || to - from > UINT32_MAX / 2)
        return FULL;
    enum stop stop = scan_records(&s, in, ends, unsafe, found);
    found->lines = line_feeds(in + from, in + found->consumed);
    return stop;
}

int ackline_abi(void)
{
    return ACKLINE_ABI;
}
