/* The load generator: many WebSocket connections from one thread, every delivery accounted for.
 *
 * Reads a plan from standard input, one "name value" a line:
 *   port N                    the server, on 127.0.0.1
 *   server_pid N              (repeatable) whose CPU time and memory are read around what is measured
 *   connection ROOM PATH TOKEN  (repeatable) ROOM is 0, 1, …; TOKEN goes into an Authorization header, "-" for none
 *   greeting TEXT             a connection has entered when a frame containing TEXT came; without: when it is upgraded
 *   send TEXT                 a message: %C becomes its content, %I a text unique to it
 *   error TEXT                a frame containing TEXT is a refusal: the run ends there
 *   nonce TEXT                8 characters, different for every run against the same server
 *   content_bytes N, senders N (of each room, they take turns), window N (messages under way in each room)
 *   warm_connections N        opened and closed again before memory is read
 *   parallel_upgrades N, seconds S (0: connections only), drain_seconds S, settle_ms N, warm_up_seconds S
 * A message is done, and the next one of its room is sent, when every member of the room has it. Prints one JSON
 * object; exit code 0, or 1 with one line on standard error. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "websocket.h"

enum { NONCE_BYTES = 8, DIGITS = 10, MARK_BYTES = 2 + NONCE_BYTES + DIGITS, READ_BYTES = 1 << 18, MAX_FRAME_BYTES = 16 << 20,
       MAX_PIDS = 64, HINTS = 4, SUB_BUCKETS = 32, BUCKETS = 64 * SUB_BUCKETS };
enum state { IDLE, CONNECTING, UPGRADING, GREETING, OPEN, CLOSED };

struct bytes { uint8_t *data; size_t size, capacity; };

struct connection {
    enum state state;
    int fd, room, watching_writes;
    char *path, *token, key[25];
    struct bytes input, output, fragments;
    uint64_t *seen; /* one bit for each message of the room */
    size_t seen_words;
    uint32_t delivered;
};

struct room { int *members, count, turn; uint32_t *order; size_t order_size, order_capacity, messages; };
struct message { uint64_t sent_ns; uint32_t room, number, remaining; int sender; };
struct histogram { uint64_t counts[BUCKETS], total; };

static struct {
    int port, pids[MAX_PIDS], pid_count, senders, window, warm, parallel;
    size_t content_bytes;
    char *greeting, *send, *error, *nonce;
    unsigned settle_ms;
    double seconds, drain_seconds, warm_up_seconds;
} plan = {.senders = 1, .window = 1, .parallel = 64, .content_bytes = 100, .settle_ms = 400, .drain_seconds = 60, .warm_up_seconds = 0.4};

static struct connection *connections;
static struct room *rooms;
static struct message *messages;
static size_t connection_count, room_count, message_count, message_capacity;
static int epoll_fd, sending;
static size_t entered, closed_early, under_way, deliveries, duplicates, reordered, strangers, refusals, pings, other_frames;
static size_t expected, first_measured;
static uint64_t now_ns, last_frame_ns;
static char mark[2 + NONCE_BYTES + 1], *sample;
static size_t hints[HINTS];
static struct histogram own_copy, others_copy;
static uint8_t shared[READ_BYTES];

static void fail(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    fputs("loadgen: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    exit(1);
}

static uint64_t read_clock(clockid_t clock) {
    struct timespec time;
    if (clock_gettime(clock, &time)) return 0;
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

/* CPU time of the server's processes, all threads, user and system. */
static uint64_t server_cpu_ns(void) {
    uint64_t sum = 0;
    for (int i = 0; i < plan.pid_count; i++) {
        clockid_t clock;
        if (clock_getcpuclockid(plan.pids[i], &clock)) fail("the server's process %d is gone", plan.pids[i]);
        sum += read_clock(clock);
    }
    return sum;
}

static long server_resident_kib(void) {
    long sum = 0, pages;
    for (int i = 0; i < plan.pid_count; i++) {
        char path[64];
        snprintf(path, sizeof path, "/proc/%d/statm", plan.pids[i]);
        FILE *file = fopen(path, "r");
        if (!file || fscanf(file, "%*d %ld", &pages) != 1) fail("the server's process %d is gone", plan.pids[i]);
        fclose(file);
        sum += pages * sysconf(_SC_PAGESIZE) / 1024;
    }
    return sum;
}

static void *grow(void *memory, size_t size) {
    memory = realloc(memory, size);
    if (!memory) fail("out of memory");
    return memory;
}

static void append(struct bytes *bytes, const void *data, size_t size) {
    if (bytes->size + size > bytes->capacity) {
        bytes->capacity = (bytes->size + size) * 2;
        bytes->data = grow(bytes->data, bytes->capacity);
    }
    memcpy(bytes->data + bytes->size, data, size);
    bytes->size += size;
}

static void drop(struct bytes *bytes, size_t size) {
    bytes->size -= size;
    memmove(bytes->data, bytes->data + size, bytes->size);
}

/* Logarithmic buckets, each split linearly: within 3 % of the value. */
static void record(struct histogram *histogram, uint64_t ns) {
    unsigned bucket = (unsigned)ns;
    if (ns >= SUB_BUCKETS) {
        int shift = 63 - __builtin_clzll(ns) - 5;
        bucket = (unsigned)(shift + 1) * SUB_BUCKETS + (unsigned)(ns >> shift) % SUB_BUCKETS;
    }
    histogram->counts[bucket]++;
    histogram->total++;
}

static double quantile_ms(const struct histogram *histogram, double quantile) {
    uint64_t rank = (uint64_t)(quantile * (double)histogram->total), sum = 0;
    for (unsigned bucket = 0; bucket < BUCKETS; bucket++) {
        sum += histogram->counts[bucket];
        if (sum > rank) {
            if (bucket < SUB_BUCKETS) return bucket / 1e6;
            return (double)(((uint64_t)SUB_BUCKETS + bucket % SUB_BUCKETS) << (bucket / SUB_BUCKETS - 1)) / 1e6;
        }
    }
    return 0;
}

static void watch(struct connection *connection, int writes, int operation) {
    struct epoll_event event = {.events = EPOLLIN | (writes ? EPOLLOUT : 0), .data.ptr = connection};
    connection->watching_writes = writes;
    if (epoll_ctl(epoll_fd, operation, connection->fd, &event)) fail("epoll_ctl: %s", strerror(errno));
}

static void hang_up(struct connection *connection, int abruptly) {
    if (connection->state == IDLE || connection->state == CLOSED) return;
    struct linger linger = {.l_onoff = 1, .l_linger = 0};
    if (abruptly) setsockopt(connection->fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
    close(connection->fd);
    connection->state = CLOSED;
    connection->input.size = connection->output.size = connection->fragments.size = 0;
}

static void flush(struct connection *connection) {
    while (connection->output.size) {
        ssize_t sent = send(connection->fd, connection->output.data, connection->output.size, MSG_NOSIGNAL);
        if (sent < 0 && errno != EAGAIN) return; /* reading tells how it ended */
        if (sent < 0) break;
        drop(&connection->output, (size_t)sent);
    }
    if (connection->watching_writes != (connection->output.size > 0))
        watch(connection, connection->output.size > 0, EPOLL_CTL_MOD);
}

static void send_frame(struct connection *connection, int opcode, const void *payload, size_t size) {
    static uint64_t state = 0x9E3779B97F4A7C15u; /* masks need only differ: nothing here guards a proxy */
    state ^= state << 13; state ^= state >> 7; state ^= state << 17;
    uint8_t header[14], mask[4];
    memcpy(mask, &state, 4);
    append(&connection->output, header, write_header(header, opcode, size, mask));
    size_t start = connection->output.size;
    append(&connection->output, payload, size);
    for (size_t i = 0; i < size; i++) connection->output.data[start + i] ^= mask[i & 3];
    flush(connection);
}

static void send_message(uint32_t room_number) {
    static char content[4096], text[8192];
    struct room *room = &rooms[room_number];
    int sender = room->members[room->turn++ % (plan.senders < room->count ? plan.senders : room->count)];
    if (message_count == message_capacity) {
        message_capacity = message_capacity ? message_capacity * 2 : 4096;
        messages = grow(messages, message_capacity * sizeof *messages);
    }
    int size = snprintf(content, sizeof content, "%s%0*zu ", mark, DIGITS, message_count);
    while ((size_t)size < plan.content_bytes) size += snprintf(content + size, sizeof content - (size_t)size, "the quick brown fox ");
    content[plan.content_bytes] = 0;
    size_t length = 0;
    for (const char *from = plan.send; *from; from++) {
        if (from[0] == '%' && from[1] == 'C') { length += (size_t)sprintf(text + length, "%s", content); from++; }
        else if (from[0] == '%' && from[1] == 'I') { length += (size_t)sprintf(text + length, "%s-%zu", plan.nonce, message_count); from++; }
        else text[length++] = *from;
    }
    messages[message_count++] = (struct message){.sent_ns = read_clock(CLOCK_MONOTONIC), .room = room_number, .number = (uint32_t)room->messages++,
                                                 .remaining = (uint32_t)room->count, .sender = sender};
    expected += (size_t)room->count;
    under_way++;
    send_frame(&connections[sender], OPCODE_TEXT, text, length);
}

static void deliver(struct connection *connection, const uint8_t *digits) {
    size_t id = 0;
    for (int i = 0; i < DIGITS; i++) id = id * 10 + (size_t)(digits[i] - '0');
    if (id >= message_count || messages[id].room != (uint32_t)connection->room) {
        strangers++;
        return;
    }
    struct message *message = &messages[id];
    struct room *room = &rooms[message->room];
    size_t word = message->number / 64;
    if (word >= connection->seen_words) {
        size_t words = word * 2 + 16;
        connection->seen = grow(connection->seen, words * 8);
        memset(connection->seen + connection->seen_words, 0, (words - connection->seen_words) * 8);
        connection->seen_words = words;
    }
    uint64_t bit = (uint64_t)1 << (message->number & 63);
    if (connection->seen[word] & bit) {
        duplicates++;
        return;
    }
    connection->seen[word] |= bit;
    if (connection->delivered < room->order_size) {
        reordered += room->order[connection->delivered] != message->number;
    } else {
        if (room->order_size == room->order_capacity) {
            room->order_capacity = room->order_capacity ? room->order_capacity * 2 : 64;
            room->order = grow(room->order, room->order_capacity * sizeof *room->order);
        }
        room->order[room->order_size++] = message->number;
    }
    connection->delivered++;
    deliveries++;
    if (id >= first_measured)
        record(&connections[message->sender] == connection ? &own_copy : &others_copy, now_ns - message->sent_ns);
    if (--message->remaining == 0) {
        under_way--;
        if (sending) send_message(message->room);
    }
}

/* Where a message's mark stands varies little from frame to frame: look where it stood lately, then everywhere. */
static const uint8_t *find_mark(const uint8_t *text, size_t length) {
    const size_t size = sizeof mark - 1;
    for (int i = 0; i < HINTS; i++) {
        size_t at = hints[i];
        if (at + MARK_BYTES <= length && !memcmp(text + at, mark, size)) {
            if (i) { hints[i] = hints[i - 1]; hints[i - 1] = at; }
            return text + at + size;
        }
    }
    const uint8_t *found = memmem(text, length, mark, size);
    if (!found || (size_t)(found - text) + MARK_BYTES > length) return NULL;
    hints[HINTS - 1] = (size_t)(found - text);
    return found + size;
}

static int contains(const uint8_t *text, size_t length, const char *what) { return what && memmem(text, length, what, strlen(what)); }

static void take_text(struct connection *connection, const uint8_t *text, size_t length) {
    if (connection->state == GREETING && contains(text, length, plan.greeting)) {
        connection->state = OPEN;
        entered++;
    }
    const uint8_t *digits = find_mark(text, length);
    if (contains(digits ? NULL : text, digits ? 0 : length, plan.error)) {
        if (!refusals++) asprintf(&sample, "%.*s", (int)(length < 400 ? length : 400), text);
    } else if (digits) {
        deliver(connection, digits);
    } else {
        other_frames++;
    }
}

static int take_frame(struct connection *connection, const struct header *header, const uint8_t *payload) {
    if (header->masked || header->reserved) fail("a server frame with a mask or a reserved bit");
    switch (header->opcode) {
    case OPCODE_PING:
        pings++;
        send_frame(connection, OPCODE_PONG, payload, header->length);
        return 1;
    case OPCODE_PONG: return 1;
    case OPCODE_CLOSE: return 0;
    case OPCODE_CONTINUATION:
    case OPCODE_TEXT:
        if (header->final && header->opcode == OPCODE_TEXT) {
            take_text(connection, payload, header->length);
            return 1;
        }
        append(&connection->fragments, payload, header->length);
        if (connection->fragments.size > MAX_FRAME_BYTES) fail("a server message over %d bytes", MAX_FRAME_BYTES);
        if (header->final) {
            take_text(connection, connection->fragments.data, connection->fragments.size);
            connection->fragments.size = 0;
        }
        return 1;
    default: fail("a server frame with opcode %d", header->opcode);
    }
    return 0;
}

/* Handles every whole frame in `bytes`; returns how many bytes they took, or -1 at the end of the connection. */
static ssize_t take_frames(struct connection *connection, const uint8_t *bytes, size_t available) {
    size_t used = 0;
    struct header header;
    for (;;) {
        size_t size = parse_header(bytes + used, available - used, &header);
        if (!size) return (ssize_t)used;
        if (header.length > MAX_FRAME_BYTES) fail("a server frame of %lu bytes", (unsigned long)header.length);
        if (available - used - size < header.length) return (ssize_t)used;
        if (!take_frame(connection, &header, bytes + used + size)) return -1;
        used += size + header.length;
    }
}

/* The handshake's answer at the start of the input: 0 while it is not whole. */
static size_t take_answer(struct connection *connection) {
    uint8_t *end = memmem(connection->input.data, connection->input.size, "\r\n\r\n", 4);
    if (!end) return 0;
    size_t size = (size_t)(end + 4 - connection->input.data);
    char *answer = (char *)connection->input.data, accept[29], wanted[80];
    *end = 0;
    if (strncmp(answer, "HTTP/1.1 101 ", 13))
        fail("refused at the door of %s: %.40s … %.*s", connection->path, answer, (int)(connection->input.size - size), end + 4);
    accept_of(connection->key, accept);
    snprintf(wanted, sizeof wanted, "\r\nSec-WebSocket-Accept: %s", accept);
    if (!strcasestr(answer, wanted)) fail("the handshake's answer carries a wrong Sec-WebSocket-Accept");
    connection->state = plan.greeting ? GREETING : OPEN;
    entered += !plan.greeting;
    return size;
}

static void open_connection(struct connection *connection) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)plan.port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int on = 1;
    connection->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (connection->fd < 0) fail("socket: %s (the limit of open files?)", strerror(errno));
    setsockopt(connection->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (connect(connection->fd, (struct sockaddr *)&address, sizeof address) && errno != EINPROGRESS) fail("connect: %s", strerror(errno));
    connection->state = CONNECTING;
    watch(connection, 1, EPOLL_CTL_ADD);
}

static void request_upgrade(struct connection *connection) {
    char request[4096];
    uint8_t random[16];
    if (getrandom(random, sizeof random, 0) != sizeof random) fail("no random bytes");
    base64(random, sizeof random, connection->key);
    int size = snprintf(request, sizeof request,
                        "GET %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                        "Sec-WebSocket-Key: %s\r\n%s%s%s\r\n", connection->path, plan.port, connection->key,
                        connection->token ? "Authorization: Bearer " : "", connection->token ? connection->token : "", connection->token ? "\r\n" : "");
    if (size >= (int)sizeof request) fail("a handshake over %zu bytes", sizeof request);
    connection->state = UPGRADING;
    append(&connection->output, request, (size_t)size);
    flush(connection);
}

static void read_from(struct connection *connection) {
    ssize_t got = recv(connection->fd, shared, READ_BYTES, 0), used;
    if (got < 0 && errno == EAGAIN) return;
    if (got <= 0) {
        closed_early++;
        hang_up(connection, 0);
        return;
    }
    last_frame_ns = now_ns = read_clock(CLOCK_MONOTONIC);
    if (connection->state >= GREETING && !connection->input.size) { /* the usual case: nothing left over, nothing copied */
        used = take_frames(connection, shared, (size_t)got);
        if (used >= 0 && used < got) append(&connection->input, shared + used, (size_t)(got - used));
    } else {
        append(&connection->input, shared, (size_t)got);
        if (connection->state == UPGRADING) drop(&connection->input, take_answer(connection));
        used = connection->state >= GREETING ? take_frames(connection, connection->input.data, connection->input.size) : 0;
        if (used > 0) drop(&connection->input, (size_t)used);
    }
    if (used < 0) {
        closed_early++;
        hang_up(connection, 0);
    }
}

static void turn(int wait_ms) {
    struct epoll_event events[512];
    int count = epoll_wait(epoll_fd, events, 512, wait_ms);
    for (int i = 0; i < count; i++) {
        struct connection *connection = events[i].data.ptr;
        if (connection->state == CONNECTING && events[i].events & EPOLLOUT) {
            int problem = 0;
            socklen_t size = sizeof problem;
            getsockopt(connection->fd, SOL_SOCKET, SO_ERROR, &problem, &size);
            if (problem) fail("connect: %s", strerror(problem));
            request_upgrade(connection);
        } else if (connection->state != CLOSED && events[i].events & EPOLLOUT) {
            flush(connection);
        }
        if (connection->state != CLOSED && events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) read_from(connection);
    }
    now_ns = read_clock(CLOCK_MONOTONIC);
    if (refusals) fail("the server answered with an error: %s", sample);
}

/* Opens the first `count` connections, at most `parallel` handshakes at a time; seconds until all have entered. */
static double open_all(size_t count, double limit_seconds) {
    uint64_t start = read_clock(CLOCK_MONOTONIC);
    size_t opened = 0;
    entered = closed_early = 0;
    while (entered < count) {
        while (opened < count && opened - entered < (size_t)plan.parallel) open_connection(&connections[opened++]);
        turn(100);
        if (closed_early) fail("the server closed a connection while %zu of %zu had entered", entered, count);
        if ((double)(now_ns - start) > limit_seconds * 1e9) fail("only %zu of %zu connections entered within %.0f s", entered, count, limit_seconds);
    }
    return (double)(read_clock(CLOCK_MONOTONIC) - start) / 1e9;
}

static void close_all(void) {
    static const uint8_t normal[2] = {1000 >> 8, 1000 & 255};
    size_t open = 0, before = closed_early;
    for (size_t i = 0; i < connection_count; i++) {
        if (connections[i].state != OPEN) continue;
        send_frame(&connections[i], OPCODE_CLOSE, normal, 2);
        open++;
    }
    uint64_t limit = read_clock(CLOCK_MONOTONIC) + 5000000000u;
    while (closed_early < before + open && read_clock(CLOCK_MONOTONIC) < limit) turn(50);
    for (size_t i = 0; i < connection_count; i++) hang_up(&connections[i], 1);
}

/* Waits until nothing came for `quiet_ms`, 15 s at most. */
static void settle(unsigned quiet_ms) {
    uint64_t start = now_ns = last_frame_ns = read_clock(CLOCK_MONOTONIC);
    while (now_ns - last_frame_ns < quiet_ms * 1000000ull && now_ns - start < 15000000000u) turn((int)quiet_ms / 4 + 1);
}

/* Keeps `window` messages under way in each room for `seconds`, then waits for what is still missing. */
static void run(int window, double seconds) {
    uint64_t start = now_ns = read_clock(CLOCK_MONOTONIC);
    sending = 1;
    for (int i = 0; i < window; i++)
        for (size_t room = 0; room < room_count; room++) send_message((uint32_t)room);
    while ((double)(now_ns - start) < seconds * 1e9 && !closed_early) turn(20);
    sending = 0;
    uint64_t stopped = now_ns;
    while (under_way && !closed_early && (double)(now_ns - stopped) < plan.drain_seconds * 1e9) turn(20);
}

static void read_plan(void) {
    static char line[16384];
    while (fgets(line, sizeof line, stdin)) {
        line[strcspn(line, "\n")] = 0;
        char *value = strchr(line, ' ');
        if (!value) fail("a plan line without a value: %s", line);
        *value++ = 0;
        if (!strcmp(line, "connection")) {
            struct connection connection = {0};
            if (sscanf(value, "%d %ms %ms", &connection.room, &connection.path, &connection.token) != 3) fail("a bad connection line");
            if (!strcmp(connection.token, "-")) connection.token = NULL;
            connections = grow(connections, (connection_count + 1) * sizeof *connections);
            connections[connection_count++] = connection;
        } else if (!strcmp(line, "server_pid")) {
            if (plan.pid_count == MAX_PIDS) fail("more than %d server processes", MAX_PIDS);
            plan.pids[plan.pid_count++] = atoi(value);
        } else if (!strcmp(line, "port")) plan.port = atoi(value);
        else if (!strcmp(line, "senders")) plan.senders = atoi(value);
        else if (!strcmp(line, "window")) plan.window = atoi(value);
        else if (!strcmp(line, "warm_connections")) plan.warm = atoi(value);
        else if (!strcmp(line, "parallel_upgrades")) plan.parallel = atoi(value);
        else if (!strcmp(line, "content_bytes")) plan.content_bytes = (size_t)atoi(value);
        else if (!strcmp(line, "seconds")) plan.seconds = atof(value);
        else if (!strcmp(line, "settle_ms")) plan.settle_ms = (unsigned)atoi(value);
        else if (!strcmp(line, "warm_up_seconds")) plan.warm_up_seconds = atof(value);
        else if (!strcmp(line, "drain_seconds")) plan.drain_seconds = atof(value);
        else if (!strcmp(line, "greeting")) plan.greeting = strdup(value);
        else if (!strcmp(line, "send")) plan.send = strdup(value);
        else if (!strcmp(line, "error")) plan.error = strdup(value);
        else if (!strcmp(line, "nonce")) plan.nonce = strdup(value);
        else fail("an unknown plan line: %s", line);
    }
    if (!plan.port || !connection_count || !plan.send || strlen(plan.send) > 2048 || !plan.nonce || strlen(plan.nonce) != NONCE_BYTES ||
        plan.senders < 1 || plan.window < 1 || plan.settle_ms < 1 || plan.content_bytes < MARK_BYTES + 1 || plan.content_bytes > 2000)
        fail("an incomplete plan");
    snprintf(mark, sizeof mark, "~~%s", plan.nonce);
}

static void lay_rooms(void) {
    for (size_t i = 0; i < connection_count; i++) {
        size_t number = (size_t)connections[i].room;
        if (number >= room_count) {
            rooms = grow(rooms, (number + 1) * sizeof *rooms);
            memset(rooms + room_count, 0, (number + 1 - room_count) * sizeof *rooms);
            room_count = number + 1;
        }
        struct room *room = &rooms[number];
        room->members = grow(room->members, (size_t)(room->count + 1) * sizeof(int));
        room->members[room->count++] = (int)i;
    }
    for (size_t i = 0; i < room_count; i++)
        if (!rooms[i].count) fail("room %zu has no connection", i);
}

int main(void) {
    read_plan();
    lay_rooms();
    alarm((unsigned)(plan.seconds + plan.drain_seconds) + 150); /* nothing may hold the whole run up */
    epoll_fd = epoll_create1(0);
    if (plan.warm) {
        open_all((size_t)plan.warm < connection_count ? (size_t)plan.warm : connection_count, 30);
        settle(plan.settle_ms);
        close_all();
    }
    long resident_before_kib = server_resident_kib();
    uint64_t cpu_before = server_cpu_ns();
    double upgrade_seconds = open_all(connection_count, 60);
    double upgrade_cpu_us = (double)(server_cpu_ns() - cpu_before) / 1e3 / (double)connection_count;
    settle(plan.settle_ms);
    long resident_after_kib = server_resident_kib();

    size_t late = 0;
    double wall_seconds = 0, server_cpu_seconds = 0, own_cpu_seconds = 0;
    size_t measured_messages = 0, measured_deliveries = 0;
    if (plan.seconds > 0) {
        run(1, plan.warm_up_seconds);
        settle(plan.settle_ms / 4);
        if (under_way) fail("warming up lost %zu deliveries", expected - deliveries);
        first_measured = message_count;
        size_t deliveries_before = deliveries;
        uint64_t own_before = read_clock(CLOCK_PROCESS_CPUTIME_ID), start = read_clock(CLOCK_MONOTONIC);
        cpu_before = server_cpu_ns();
        run(plan.window, plan.seconds);
        server_cpu_seconds = (double)(server_cpu_ns() - cpu_before) / 1e9;
        wall_seconds = (double)(read_clock(CLOCK_MONOTONIC) - start) / 1e9;
        own_cpu_seconds = (double)(read_clock(CLOCK_PROCESS_CPUTIME_ID) - own_before) / 1e9;
        measured_messages = message_count - first_measured;
        measured_deliveries = deliveries - deliveries_before;
        /* A slow server that still delivers has lost nothing: what it owes is late, not missing. */
        double silent_ns = (double)(read_clock(CLOCK_MONOTONIC) - last_frame_ns);
        if (under_way && silent_ns < plan.drain_seconds * 1e8) late = expected - deliveries;
        else settle(plan.settle_ms / 4); /* what comes twice comes late */
    }
    size_t lost_connections = closed_early;
    if (!late) close_all();
    printf("{\"connections\":%zu,\"rooms\":%zu,\"upgrades_per_second\":%.1f,\"upgrade_cpu_us\":%.2f,\"resident_before_kib\":%ld,"
           "\"resident_after_kib\":%ld,\"messages\":%zu,\"deliveries\":%zu,\"seconds\":%.4f,\"server_cpu_seconds\":%.6f,"
           "\"generator_cpu_seconds\":%.6f,\"own_p50_ms\":%.4f,\"own_p99_ms\":%.4f,\"others_p50_ms\":%.4f,\"others_p99_ms\":%.4f,"
           "\"missing\":%zu,\"late\":%zu,\"duplicates\":%zu,\"reordered\":%zu,\"strangers\":%zu,\"lost_connections\":%zu,\"pings\":%zu,\"other_frames\":%zu}\n",
           connection_count, room_count, (double)connection_count / upgrade_seconds, upgrade_cpu_us, resident_before_kib, resident_after_kib,
           measured_messages, measured_deliveries, wall_seconds, server_cpu_seconds, own_cpu_seconds, quantile_ms(&own_copy, 0.5),
           quantile_ms(&own_copy, 0.99), quantile_ms(&others_copy, 0.5), quantile_ms(&others_copy, 0.99), late ? 0 : expected - deliveries, late, duplicates,
           reordered, strangers, lost_connections, pings, other_frames);
    return 0;
}
