/* What the JSON and the CSV scanner share: results, and the rules of text.
 *
 * Every read is checked against the end of the input and every write has room made for it
 * before; a scanner holds no memory of its own between two calls.
 */
#ifndef ACKLINE_TEXT_H
#define ACKLINE_TEXT_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Grows by one with every change of a signature or of `struct found`. */
#define ACKLINE_ABI 2

/* Why a scan stopped. `native.py` has the same numbers. */
enum stop {
    MORE = 0,   /* the input ends inside the next record, or where it would begin */
    CLOSED = 1, /* the array was closed */
    ODD = 2,    /* the next record is not for us: wrong, or one of the rare forms */
    FULL = 3,   /* no room for the next record */
    BARE = 4,   /* the last record stands alone: no separator behind it is in sight */
    GOOD = 5    /* only inside: a value was read */
};

/* Bounds of one scan, and what it found. */
struct found {
    uint64_t records_max;  /* in: entries in `ends` and `unsafe` */
    uint64_t out_max;      /* in: bytes in `out` */
    uint64_t records;      /* out */
    uint64_t consumed;     /* out: index in the input after the last record and its separator */
    uint64_t written;      /* out: bytes in `out`, records joined by commas */
    uint64_t unsafe_total; /* out: numbers that do not survive a double (contract 6.4) */
    uint64_t lines;        /* out: line feeds passed */
};

/* Length of the UTF-8 sequence at `p`, which begins with a byte >= 0x80; 0: the input ends
 * inside of it; -1: it is none (Unicode 15, table 3-7: no surrogates, no overlong forms). */
static inline int utf8_length(const uint8_t *p, const uint8_t *end)
{
    uint8_t first = p[0], low = 0x80, high = 0xBF;
    int length;
    if (first < 0xC2 || first > 0xF4)
        return -1;
    if (first < 0xE0) {
        length = 2;
    } else if (first < 0xF0) {
        length = 3;
        if (first == 0xE0)
            low = 0xA0;
        else if (first == 0xED)
            high = 0x9F;
    } else {
        length = 4;
        if (first == 0xF0)
            low = 0x90;
        else if (first == 0xF4)
            high = 0x8F;
    }
    for (int i = 1; i < length; i++) {
        if (p + i == end)
            return 0;
        if (p[i] < low || p[i] > high)
            return -1;
        low = 0x80;
        high = 0xBF;
    }
    return length;
}

/* Write a character below 0x80 as it stands in a canonical string (contract 6.2): at most
 * 6 bytes. */
static inline uint8_t *put_ascii(uint8_t *out, uint8_t character)
{
    static const char HEX[] = "0123456789abcdef";
    static const char SHORT[32] = {[8] = 'b', [9] = 't', [10] = 'n', [12] = 'f', [13] = 'r'};
    if (character == '"' || character == '\\') {
        *out++ = '\\';
        *out++ = character;
    } else if (character >= 0x20) {
        *out++ = character;
    } else if (SHORT[character]) {
        *out++ = '\\';
        *out++ = (uint8_t)SHORT[character];
    } else {
        memcpy(out, "\\u00", 4);
        out[4] = (uint8_t)HEX[character >> 4];
        out[5] = (uint8_t)HEX[character & 15];
        out += 6;
    }
    return out;
}

/* Eight bytes of text, all of them plain: no control character, no quote, no backslash,
 * nothing above 0x7F? Answers with the number of plain bytes at their beginning. */
static inline int plain_bytes(const uint8_t *p)
{
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    const uint64_t ones = 0x0101010101010101u, tops = 0x8080808080808080u;
    uint64_t eight;
    memcpy(&eight, p, 8);
    uint64_t quote = eight ^ (ones * '"'), backslash = eight ^ (ones * '\\');
    /* A borrow may mark a byte too many, but only above one that is marked rightly. */
    uint64_t marks = ((eight - ones * 0x20) | eight | (quote - ones) | (backslash - ones)) & tops;
    return marks ? __builtin_ctzll(marks) >> 3 : 8;
#else
    int count = 0;
    while (count < 8 && p[count] >= 0x20 && p[count] < 0x80 && p[count] != '"' && p[count] != '\\')
        count++;
    return count;
#endif
}

#endif
