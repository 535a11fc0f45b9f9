/* Pass a value of JSON: is it one? Nothing is written, and no order of members is asked for, so
 * this needs no stack but that of the closing bytes. It judges as `value` in json.c does; tests
 * compare the two.
 */
#ifndef ACKLINE_PASS_H
#define ACKLINE_PASS_H

#include "tokens.h"

enum { KEYS_DEPTHS = 8, KEYS_MAX = 32 };

/* Keys as they were met last, each by its place: how deep, and the how manieth of its object.
 * Records are much alike, so mostly the same bytes stand there again. */
struct keys {
    struct known {
        const uint8_t *at; /* in the input, from the quote */
        size_t length;     /* up to the value; 0: none */
    } known[KEYS_DEPTHS][KEYS_MAX];
};

/* Source: RFC 8259 §2. In a line of NDJSON no line feed is white space. */
static inline const uint8_t *past_space(const uint8_t *p, const uint8_t *end, int across)
{
    while (p < end && *p <= ' ' && (*p == ' ' || *p == '\t' || *p == '\r' || (*p == '\n' && across)))
        p++;
    return p;
}

/* At a quote: pass the string. */
static inline enum stop past_string(struct scan *s, const uint8_t **at)
{
    const uint8_t *p = *at + 1, *const end = s->end;
    for (;;) {
        int plain = 8;
        while (end - p >= 8 && (plain = plain_bytes(p)) == 8)
            p += 8;
        if (plain < 8)
            p += plain;
        if (p == end)
            return MORE;
        uint8_t c = *p;
        if (c == '"') {
            *at = p + 1;
            return GOOD;
        }
        if (c >= 0x80) {
            do {
                int length = utf8_length(p, end);
                if (length <= 0)
                    return length ? ODD : MORE;
                p += length;
            } while (p < end && *p >= 0x80);
        } else if (c == '\\') {
            uint8_t *next = s->next; /* what the escape stands for is not wanted */
            s->at = p;
            enum stop stop = escape(s);
            if (stop != GOOD)
                return stop;
            p = s->at;
            s->next = next;
        } else if (c < 0x20) {
            return ODD;
        } else {
            p++;
        }
    }
}

/* Where a key begins: pass it, its colon, and the space before its value. */
static inline enum stop past_key(struct scan *s, const uint8_t **at, int across,
                                 struct known *known)
{
    const uint8_t *start = *at;
    if (known && known->length && (size_t)(s->end - start) > known->length &&
        memcmp(start, known->at, known->length) == 0) {
        *at = past_space(start + known->length, s->end, across);
        return *at == s->end ? MORE : GOOD;
    }
    if (*start != '"')
        return ODD;
    enum stop stop = past_string(s, at);
    if (stop != GOOD)
        return stop;
    const uint8_t *p = past_space(*at, s->end, across);
    if (p == s->end)
        return MORE;
    if (*p != ':')
        return ODD;
    p = past_space(p + 1, s->end, across);
    if (p == s->end)
        return MORE;
    if (known)
        *known = (struct known){start, (size_t)(p - start)};
    *at = p;
    return GOOD;
}

static inline struct known *place_of(struct keys *keys, int open, unsigned nth)
{
    return open <= KEYS_DEPTHS && nth < KEYS_MAX ? &keys->known[open - 1][nth] : NULL;
}

static inline enum stop past_word(struct scan *s, const uint8_t **at, const char *text, int length)
{
    ptrdiff_t left = s->end - *at;
    if (memcmp(*at, text, (size_t)(left < length ? left : length)) != 0)
        return ODD;
    *at += length;
    return left < length ? MORE : GOOD;
}

static inline enum stop past_number(struct scan *s, const uint8_t **at)
{
    size_t length;
    s->at = *at;
    enum stop stop = number_end(s, &length);
    *at = s->at;
    return stop;
}

/* At a value: pass it. */
static enum stop pass(struct scan *s, struct keys *keys)
{
    uint8_t closing[DEPTH_MAX];
    uint32_t nth[DEPTH_MAX]; /* key of each open object */
    int open = 0;
    const int across = !(s->flags & LINES);
    const uint8_t *p = s->at, *const end = s->end;
    for (;;) {
        enum stop stop = GOOD;
        uint8_t c = *p;
        if (c == '{' || c == '[') {
            if (open == DEPTH_MAX)
                return ODD;
            closing[open++] = (uint8_t)(c + 2); /* `}` and `]` in ASCII */
            p = past_space(p + 1, end, across);
            if (p == end)
                return MORE;
            if (*p != c + 2) {
                nth[open - 1] = 0;
                if (c == '{' && (stop = past_key(s, &p, across, place_of(keys, open, 0))) != GOOD)
                    return stop;
                continue;
            }
            p++;
            open--;
        } else {
            stop = c == '"'   ? past_string(s, &p)
                   : c == 't' ? past_word(s, &p, "true", 4)
                   : c == 'f' ? past_word(s, &p, "false", 5)
                   : c == 'n' ? past_word(s, &p, "null", 4)
                              : past_number(s, &p);
            if (stop != GOOD)
                return stop;
        }
        /* Behind a value: close what it ends, up to where the next one begins. */
        for (;;) {
            if (!open) {
                s->at = p;
                return GOOD;
            }
            p = past_space(p, end, across);
            if (p == end)
                return MORE;
            c = *p++;
            if (c == ',')
                break;
            if (c != closing[--open])
                return ODD;
        }
        p = past_space(p, end, across);
        if (p == end)
            return MORE;
        if (closing[open - 1] == '}') {
            stop = past_key(s, &p, across, place_of(keys, open, ++nth[open - 1]));
            if (stop != GOOD)
                return stop;
        }
    }
}

#endif
