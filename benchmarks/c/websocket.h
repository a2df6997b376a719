/* What the load generator and the yardstick server share of RFC 6455: the handshake's answer and frame headers. */
#ifndef HEARTLINK_BENCH_WEBSOCKET_H
#define HEARTLINK_BENCH_WEBSOCKET_H

#include <stdint.h>
#include <stdio.h>
#include <string.h>

enum { OPCODE_CONTINUATION = 0, OPCODE_TEXT = 1, OPCODE_BINARY = 2, OPCODE_CLOSE = 8, OPCODE_PING = 9, OPCODE_PONG = 10 };

static uint32_t rotate_left(uint32_t value, int bits) { return (value << bits) | (value >> (32 - bits)); }

static void sha1_block(uint32_t state[5], const uint8_t *block) {
    uint32_t w[80], a = state[0], b = state[1], c = state[2], d = state[3], e = state[4];
    for (int i = 0; i < 16; i++)
        w[i] = (uint32_t)block[4 * i] << 24 | (uint32_t)block[4 * i + 1] << 16 | (uint32_t)block[4 * i + 2] << 8 | block[4 * i + 3];
    for (int i = 16; i < 80; i++) w[i] = rotate_left(w[i - 3] ^ w[i - 8] ^ w[i - 14] ^ w[i - 16], 1);
    for (int i = 0; i < 80; i++) {
        uint32_t f, k;
        if (i < 20) { f = (b & c) | (~b & d); k = 0x5A827999; }
        else if (i < 40) { f = b ^ c ^ d; k = 0x6ED9EBA1; }
        else if (i < 60) { f = (b & c) | (b & d) | (c & d); k = 0x8F1BBCDC; }
        else { f = b ^ c ^ d; k = 0xCA62C1D6; }
        uint32_t next = rotate_left(a, 5) + f + e + k + w[i];
        e = d; d = c; c = rotate_left(b, 30); b = a; a = next;
    }
    state[0] += a; state[1] += b; state[2] += c; state[3] += d; state[4] += e;
}

/* Digest of up to 119 bytes: a handshake's key and GUID are 60. */
static void sha1(const char *text, size_t length, uint8_t digest[20]) {
    uint32_t state[5] = {0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476, 0xC3D2E1F0};
    uint8_t padded[128] = {0};
    size_t blocks = length + 9 <= 64 ? 1 : 2;
    memcpy(padded, text, length);
    padded[length] = 0x80;
    padded[blocks * 64 - 2] = (uint8_t)(length * 8 >> 8);
    padded[blocks * 64 - 1] = (uint8_t)(length * 8);
    for (size_t i = 0; i < blocks; i++) sha1_block(state, padded + 64 * i);
    for (int i = 0; i < 20; i++) digest[i] = (uint8_t)(state[i / 4] >> (24 - 8 * (i % 4)));
}

static void base64(const uint8_t *bytes, size_t length, char *text) {
    static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i < length; i += 3) {
        uint32_t three = (uint32_t)bytes[i] << 16;
        if (i + 1 < length) three |= (uint32_t)bytes[i + 1] << 8;
        if (i + 2 < length) three |= bytes[i + 2];
        *text++ = alphabet[three >> 18];
        *text++ = alphabet[three >> 12 & 63];
        *text++ = i + 1 < length ? alphabet[three >> 6 & 63] : '=';
        *text++ = i + 2 < length ? alphabet[three & 63] : '=';
    }
    *text = 0;
}

/* Sec-WebSocket-Accept of a key of 24 characters (RFC 6455 section 4.2.2); `accept` takes 29 bytes. */
static void accept_of(const char key[24], char accept[29]) {
    char joined[64];
    uint8_t digest[20];
    memcpy(joined, key, 24);
    memcpy(joined + 24, "258EAFA5-E914-47DA-95CA-C5AB0DC85B11", 36);
    sha1(joined, 60, digest);
    base64(digest, 20, accept);
}

/* One frame's header. `parse_header` returns its size in bytes, 0 while more is needed. */
struct header { int final, reserved, opcode, masked; uint64_t length; uint8_t mask[4]; };

static size_t parse_header(const uint8_t *bytes, size_t available, struct header *header) {
    if (available < 2) return 0;
    size_t size = 2;
    header->final = bytes[0] >> 7;
    header->reserved = bytes[0] >> 4 & 7;
    header->opcode = bytes[0] & 15;
    header->masked = bytes[1] >> 7;
    header->length = bytes[1] & 127;
    int extended = header->length == 126 ? 2 : header->length == 127 ? 8 : 0;
    if (available < size + (size_t)extended + (header->masked ? 4 : 0)) return 0;
    if (extended) {
        header->length = 0;
        for (int i = 0; i < extended; i++) header->length = header->length << 8 | bytes[size++];
    }
    if (header->masked) {
        memcpy(header->mask, bytes + size, 4);
        size += 4;
    }
    return size;
}

/* Writes the header of a final frame and returns its size; `mask` is NULL for a server's frames. */
static size_t write_header(uint8_t *bytes, int opcode, uint64_t length, const uint8_t *mask) {
    size_t size = 2;
    bytes[0] = (uint8_t)(0x80 | opcode);
    if (length < 126) {
        bytes[1] = (uint8_t)length;
    } else {
        int extended = length < 65536 ? 2 : 8;
        bytes[1] = extended == 2 ? 126 : 127;
        for (int i = extended - 1; i >= 0; i--) bytes[size++] = (uint8_t)(length >> (8 * i));
    }
    if (mask) {
        bytes[1] |= 0x80;
        memcpy(bytes + size, mask, 4);
        size += 4;
    }
    return size;
}

#endif
