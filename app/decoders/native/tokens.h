/* The tokens of JSON: each function passes one in the input and writes its canonical form
 * (contract 6.2 and 6.4), or says why it cannot.
 */
#ifndef ACKLINE_TOKENS_H
#define ACKLINE_TOKENS_H

#include "text.h"

enum { DEPTH_MAX = 200, DIGITS_MAX = 4000, RECORD_MAX = 16 * 1024 * 1024 }; /* budget.py */
enum { MEMBERS_MAX = 4096, ORDERS = 8, ORDER_MAX = 64 };

enum flags {
    LINES = 1,            /* a record a line; else elements of an array */
    VERBATIM = 2,         /* the records' own bytes */
    UNSAFE_IS_ODD = 4,    /* numbers: not `exact` */
    DUPLICATE_IS_ODD = 8, /* duplicate_keys: `refuse` */
};

struct member {
    uint64_t prefix; /* first eight bytes of the key; big end first, so that it sorts */
    uint32_t key;    /* where `"key":value` is in `out` */
    uint32_t length; /* of the key */
    uint32_t end;    /* of the member */
};

struct scan {
    const uint8_t *at, *end;
    uint8_t *out, *next;
    uint8_t *spare; /* as large as `out`: where members are put into order */
    unsigned flags;
    int escaped; /* did the last string hold an escape? */
    uint32_t unsafe;
    uint32_t members; /* of all open objects, on one stack */
    struct member stack[MEMBERS_MAX];
    /* The order that the last object at this depth had: the next one mostly has it too. */
    uint16_t order_of[ORDERS];
    uint16_t order[ORDERS][ORDER_MAX];
};

static inline enum stop space(struct scan *s)
{
    const uint8_t *p = s->at;
    if (p < s->end && *p > ' ')
        return GOOD;
    int across = !(s->flags & LINES);
    while (p < s->end && (*p == ' ' || *p == '\t' || *p == '\r' || (*p == '\n' && across)))
        p++;
    s->at = p;
    return p == s->end ? MORE : GOOD;
}

static int hex4(const uint8_t *p)
{
    int code = 0;
    for (int i = 0; i < 4; i++) {
        int c = p[i] | 0x20, digit;
        if (p[i] >= '0' && p[i] <= '9')
            digit = p[i] - '0';
        else if (c >= 'a' && c <= 'f')
            digit = c - 'a' + 10;
        else
            return -1;
        code = code * 16 + digit;
    }
    return code;
}

/* At a backslash: write the character that the escape stands for. Never more bytes than
 * were read. An unpaired surrogate is ODD. */
static enum stop escape(struct scan *s)
{
    const uint8_t *p = s->at;
    if (s->end - p < 2)
        return MORE;
    static const char FROM[] = "\"\\/bfnrt", TO[] = "\"\\/\b\f\n\r\t";
    if (p[1] != 'u') {
        const char *found = p[1] ? strchr(FROM, p[1]) : NULL;
        if (!found)
            return ODD;
        s->next = put_ascii(s->next, (uint8_t)TO[found - FROM]);
        s->at = p + 2;
        return GOOD;
    }
    if (s->end - p < 6)
        return MORE;
    int code = hex4(p + 2);
    s->at = p + 6;
    if (code < 0)
        return ODD;
    if (code >= 0xD800 && code < 0xE000) {
        if (s->end - s->at < 6)
            return MORE;
        int low = s->at[0] == '\\' && s->at[1] == 'u' ? hex4(s->at + 2) : -1;
        if (code >= 0xDC00 || low < 0xDC00 || low > 0xDFFF)
            return ODD;
        code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
        s->at += 6;
        *s->next++ = (uint8_t)(0xF0 | code >> 18);
        *s->next++ = (uint8_t)(0x80 | (code >> 12 & 0x3F));
        *s->next++ = (uint8_t)(0x80 | (code >> 6 & 0x3F));
        *s->next++ = (uint8_t)(0x80 | (code & 0x3F));
    } else if (code >= 0x800) {
        *s->next++ = (uint8_t)(0xE0 | code >> 12);
        *s->next++ = (uint8_t)(0x80 | (code >> 6 & 0x3F));
        *s->next++ = (uint8_t)(0x80 | (code & 0x3F));
    } else if (code >= 0x80) {
        *s->next++ = (uint8_t)(0xC0 | code >> 6);
        *s->next++ = (uint8_t)(0x80 | (code & 0x3F));
    } else {
        s->next = put_ascii(s->next, (uint8_t)code);
    }
    return GOOD;
}

/* At a quote: pass the string, and write it in canonical form. */
static inline enum stop string(struct scan *s)
{
    const uint8_t *p = s->at, *end = s->end;
    uint8_t *o = s->next;
    *o++ = *p++;
    s->escaped = 0;
    for (;;) {
        while (end - p >= 8) { /* `out` has eight bytes to spare behind what the input needs */
            int plain = plain_bytes(p);
            memcpy(o, p, 8);
            p += plain;
            o += plain;
            if (plain < 8)
                break;
        }
        if (p == end)
            return MORE;
        uint8_t c = *p;
        if (c == '"') {
            *o++ = '"';
            s->at = p + 1;
            s->next = o;
            return GOOD;
        }
        if (c >= 0x80) {
            do {
                int length = utf8_length(p, end);
                if (length <= 0)
                    return length ? ODD : MORE;
                for (int i = 0; i < length; i++)
                    *o++ = *p++;
            } while (p < end && *p >= 0x80);
        } else if (c == '\\') {
            s->at = p;
            s->next = o;
            s->escaped = 1;
            enum stop stop = escape(s);
            if (stop != GOOD)
                return stop;
            p = s->at;
            o = s->next;
        } else if (c < 0x20) {
            return ODD;
        } else {
            *o++ = *p++;
        }
    }
}

/* Is |n| at most 2^53 - 1, for a token of `length` digits? */
static int is_safe_integer(const uint8_t *digits, ptrdiff_t length)
{
    return length < 16 || (length == 16 && memcmp(digits, "9007199254740991", 16) <= 0);
}

/* Is a fraction safe (contract 6.4)? `trimmed`: its digits after the point without the zeros
 * at the end. */
static int is_safe_fraction(const uint8_t *whole, ptrdiff_t wholes, const uint8_t *fraction,
                            ptrdiff_t trimmed)
{
    if (*whole != '0')
        return wholes + trimmed <= 15;
    ptrdiff_t zeros = 0;
    while (zeros < trimmed && fraction[zeros] == '0')
        zeros++;
    return trimmed == 0 || (zeros < 4 && trimmed - zeros <= 15);
}

/* At a number: pass it, and say how much of it is its canonical form. */
static inline enum stop number_end(struct scan *s, size_t *length)
{
    const uint8_t *start = s->at, *p = start, *end = s->end;
    p += *p == '-';
    const uint8_t *whole = p;
    while (p < end && *p >= '0' && *p <= '9')
        p++;
    if (p == end)
        return MORE;
    ptrdiff_t wholes = p - whole, fractions = 0, trimmed = 0;
    if (wholes == 0 || (wholes > 1 && *whole == '0'))
        return ODD;
    const uint8_t *fraction = p + 1;
    if (*p == '.') {
        p++;
        while (p < end && *p >= '0' && *p <= '9')
            p++;
        if (p == end)
            return MORE;
        trimmed = fractions = p - fraction;
        if (fractions == 0)
            return ODD;
        while (trimmed && fraction[trimmed - 1] == '0')
            trimmed--;
    }
    int exponent = *p == 'e' || *p == 'E';
    if (exponent) {
        p++;
        if (p < end && (*p == '+' || *p == '-'))
            p++;
        const uint8_t *digits = p;
        while (p < end && *p >= '0' && *p <= '9')
            p++;
        if (p == end)
            return MORE;
        if (p == digits)
            return ODD;
    }
    int safe = !exponent && (fractions ? is_safe_fraction(whole, wholes, fraction, trimmed)
                                       : is_safe_integer(whole, wholes));
    if (!safe && (s->flags & UNSAFE_IS_ODD))
        return ODD;
    if (p - start > DIGITS_MAX || (!fractions && !exponent && *whole == '0' && whole > start))
        return ODD; /* -0 has no sign in Python */
    s->unsafe += !safe;
    *length = (size_t)(p - start);
    if (safe && fractions) /* the shortest text of the same double, one digit at least */
        *length -= (size_t)(fractions - (trimmed ? trimmed : 1));
    s->at = p;
    return GOOD;
}

static enum stop number(struct scan *s)
{
    const uint8_t *start = s->at;
    size_t length;
    enum stop stop = number_end(s, &length);
    if (stop == GOOD) {
        memcpy(s->next, start, length);
        s->next += length;
    }
    return stop;
}

static enum stop word(struct scan *s, const char *text, ptrdiff_t length)
{
    ptrdiff_t left = s->end - s->at;
    if (memcmp(s->at, text, (size_t)(left < length ? left : length)) != 0)
        return ODD;
    if (left < length)
        return MORE;
    memcpy(s->next, text, (size_t)length);
    s->next += length;
    s->at += length;
    return GOOD;
}

#endif
