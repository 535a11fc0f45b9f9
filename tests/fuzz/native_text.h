/* Texts that nobody meant: out of a small grammar or a file, then damaged.
 *
 * All chance comes from `below`, which gives the same numbers after the same `chance`.
 */
#ifndef ACKLINE_FUZZ_TEXT_H
#define ACKLINE_FUZZ_TEXT_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

enum { TEXT_MAX = 96 * 1024 };

static uint64_t chance;
static uint8_t made[TEXT_MAX]; /* the text */
static size_t made_length;

/* splitmix64: neighbouring starts give numbers that have nothing to do with each other. */
static uint32_t below(uint32_t limit)
{
    uint64_t z = chance += 0x9E3779B97F4A7C15u;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return (uint32_t)(((z ^ z >> 31) >> 32) * limit >> 32);
}

static int one_in(uint32_t limit)
{
    return below(limit) == 0;
}

#define ANY(table) table[below(sizeof(table) / sizeof *(table))]

/* ---- building */

static void insert(size_t at, const void *bytes, size_t count)
{
    if (count > TEXT_MAX - made_length)
        return;
    memmove(made + at + count, made + at, made_length - at);
    memcpy(made + at, bytes, count);
    made_length += count;
}

static void put_text(const char *words)
{
    insert(made_length, words, strlen(words));
}

static void put_byte(char byte)
{
    insert(made_length, &byte, 1);
}

/* ---- JSON */

static void put_blank(void)
{
    static const char *const BLANKS[] = {" ", "\t", "\r", "\n", "\r\n", "        ", "\n    "};
    if (one_in(6))
        put_text(ANY(BLANKS));
}

static void put_string(void)
{
    static const char *const PIECES[] = {
        "a", "b", "name", "0123456789abcdef", " ", "\xC3\xA9", "\xE2\x82\xAC", "\xF0\x9F\x98\x80",
        "\\n", "\\u0041", "\\u00e9", "\\ud83d\\ude00", "\\\"", "\\\\", "\\/", "\\u0001", "\x7F",
    };
    put_byte('"');
    for (uint32_t left = one_in(6) ? below(60) : below(5); left; left--)
        put_text(ANY(PIECES));
    put_byte('"');
}

static void put_number(void)
{
    static const char *const NUMBERS[] = {
        "0", "1", "-1", "20.00", "0.5", "0.0001", "0.00001", "-0", "-0.0", "0.000", "1e5",
        "1.0E-7", "9007199254740991", "9007199254740993", "123456789012345.600",
        "12345678901234567890", "0.30000000000000004", "-12.3400",
    };
    put_text(ANY(NUMBERS));
}

/* Mostly of a few, so that objects look alike, have members twice, or differ only behind the
 * eight bytes that are compared first. */
static void put_key(void)
{
    static const char *const FRONTS[] = {"", "", "", "abcdefg", "abcdefgh", "\xC3\xA9", "\\u0061"};
    put_byte('"');
    put_text(ANY(FRONTS));
    for (uint32_t left = below(3); left; left--)
        put_byte((char)('a' + below(6)));
    put_byte('"');
}

static void put_value(int depth)
{
    static const char *const WORDS[] = {"true", "false", "null"};
    uint32_t kind = below(depth < 4 ? 8 : 3), count = below(5);
    if (kind < 3) {
        if (kind == 0)
            put_string();
        else if (kind == 1)
            put_number();
        else
            put_text(ANY(WORDS));
        return;
    }
    int object = kind > 3;
    put_byte(object ? '{' : '[');
    put_blank();
    for (uint32_t i = 0; i < count; i++) {
        if (i)
            put_byte(',');
        put_blank();
        if (object) {
            put_key();
            put_blank();
            put_byte(':');
            put_blank();
        }
        put_value(depth + 1);
        put_blank();
    }
    put_byte(object ? '}' : ']');
}

/* An object of many members, in no order, inside a few arrays: around the limits in tokens.h. */
static void put_wide(void)
{
    char member[32];
    uint32_t nested = below(10), count = one_in(10) ? 4094 + below(5) : 62 + below(5);
    uint32_t first = below(4099);
    for (uint32_t i = 0; i < nested; i++)
        put_byte('[');
    put_byte('{');
    for (uint32_t i = 0; i < count; i++) {
        snprintf(member, sizeof member, "%s\"%u\":%u", i ? "," : "", (i * 7 + first) % 4099, i % 3);
        put_text(member);
    }
    put_byte('}');
    for (uint32_t i = 0; i < nested; i++)
        put_byte(']');
}

static void make_json(int lines)
{
    uint32_t records = one_in(20) ? below(40) : below(6);
    if (!lines)
        put_byte('[');
    for (uint32_t i = 0; i < records; i++) {
        if (i)
            put_text(lines ? "\n" : ",");
        if (!lines)
            put_blank();
        if (one_in(500))
            put_wide();
        else
            put_value(one_in(4) ? 3 : 0);
        if (!lines)
            put_blank();
    }
    put_text(lines ? "\n" : "]");
}

/* ---- CSV */

static void put_cell(char delimiter, char quote)
{
    static const char *const PIECES[] = {
        "a", "1", "20.00", "plain text of a cell", " ", "\xC3\xA9", "\xF0\x9F\x98\x80", "\"", "'",
        "\\", "\t", "\x01",
    };
    static const char *const KEPT[] = {"\n", "\r\n"};
    int quoted = quote != delimiter && one_in(3);
    if (quoted)
        put_byte(quote);
    for (uint32_t left = one_in(10) ? below(20) : below(3); left; left--) {
        if (quoted && one_in(4)) {
            put_byte(quote);
            put_byte(quote);
        } else if (quoted && one_in(4)) {
            put_text(ANY(KEPT));
        } else {
            put_text(ANY(PIECES));
        }
    }
    if (quoted)
        put_byte(quote);
}

static void make_csv(uint32_t columns, char delimiter, char quote)
{
    static const char *const ENDS[] = {"\n", "\n", "\n", "\r\n", "\r\n", "\n\n", "\r\n\r\n"};
    for (uint32_t rows = one_in(20) ? below(40) : below(6); rows; rows--) {
        for (uint32_t i = 0; i < columns; i++) {
            if (i)
                put_byte(delimiter);
            put_cell(delimiter, quote);
        }
        put_text(ANY(ENDS));
    }
}

/* ---- damage */

static const char *const TOKENS[] = {
    "\"", "\"\"", "\\", "'", ",", ";", ":", "{", "}", "[", "]", "{}", "[]", "},{", "]}",
    "\n", "\r", "\r\n", "\n\n", " ", "\t", "        ", "\\u", "\\u0", "\\ud800", "\\udc00",
    "\\ud83d\\u", "\\ud83d\\ude00", "\\u0000", "\\x", "\\/", "true", "tru", "fals", "null", "NaN",
    "-", "-0", "-.", "0.", "1.", "1e", "1e+", "E5", "9007199254740992", "0.00001", "1e400",
    "\xC3", "\xC3\xA9", "\xE2\x82", "\xED\xA0\x80", "\xF0\x9F\x98", "\xF4\x90\x80\x80", "\xFF",
    "\xC0\xAF", "\xEF\xBB\xBF", "\"a\":", "{\"a\":1,\"a\":2}", "{\"b\":1,\"a\":2}", "\x01", "\x1F",
    "\x7F", "\x80", "a,b\n", "\"a\nb\"", "\"\"\"",
};

/* Around the limits of depth and of digits, and the strides of the loops; or, where recursion
 * has no limit, too deep for the stack. */
static void insert_run(size_t at)
{
    static const char *const UNITS[] = {"[", "]", "{\"a\":", "}", "1", "0", "\"", "a", "\n", ","};
    static const uint32_t TIMES[] = {7, 8, 9, 15, 16, 17, 64, 65, 199, 200, 201};
    static const uint32_t DIGITS[] = {3998, 3999, 4000, 4001};
    static uint8_t run[TEXT_MAX];
    const char *unit = ANY(UNITS);
    uint32_t times = ANY(TIMES);
    if ((*unit == '1' || *unit == '0') && one_in(8))
        times = ANY(DIGITS);
    else if ((*unit == '[' || *unit == '{') && one_in(50))
        times = TEXT_MAX * 3 / 4 / (uint32_t)strlen(unit);
    size_t size = 0;
    for (; times; times--)
        for (const char *p = unit; *p; p++)
            run[size++] = (uint8_t)*p;
    insert(at, run, size);
}

/* Put a piece of some text at a place of this one. */
static void splice(size_t at, const uint8_t *from, size_t count, uint32_t times)
{
    uint8_t piece[256];
    size_t start = below((uint32_t)count + 1), size = below(sizeof piece + 1);
    if (size > count - start)
        size = count - start;
    memcpy(piece, from + start, size);
    for (; times; times--)
        insert(at, piece, size);
}

static void erase(size_t at, size_t count)
{
    if (count > made_length - at)
        count = made_length - at;
    memmove(made + at, made + at + count, made_length - at - count);
    made_length -= count;
}

/* Change one thing. `other` is a text to take pieces of. */
static void damage(const uint8_t *other, size_t other_length)
{
    static const uint32_t SIZES[] = {1, 1, 1, 2, 4, 9, 30, 200};
    size_t at = below((uint32_t)made_length + 1);
    uint8_t byte = one_in(8) ? 0 : (uint8_t)below(256);
    const char *token = ANY(TOKENS);
    switch (below(12)) {
    case 0:
        if (at < made_length)
            made[at] ^= (uint8_t)(1 << below(8));
        break;
    case 1:
        insert(at, &byte, 1);
        if (one_in(8))
            insert(at, "\\", 1);
        break;
    case 2:
    case 3:
        erase(at, ANY(SIZES));
        break;
    case 4:
        splice(at, made, made_length, one_in(4) ? 1 + below(20) : 1);
        break;
    case 5:
        splice(at, other, other_length, 1);
        break;
    case 6:
        made_length = at;
        break;
    case 7:
        insert_run(at);
        break;
    case 8:
        erase(at, strlen(token)); /* and put the token there */
        insert(at, token, strlen(token));
        break;
    default:
        insert(at, token, strlen(token));
    }
}

#endif
