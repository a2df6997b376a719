/* The yardstick: the plainest C server that fans out, one `send` per member and message, nothing stored.
 *
 * usage: fanout PORT [gather]     (listens on 127.0.0.1; the request's path names the room)
 * With `gather`, what one turn of the loop brings for a member goes out in one `send`, as HeartLink does it.
 * A message is the frame {"content":"…"}; every member of the room, the sender included, gets one text frame of about
 * 300 bytes around that content. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "websocket.h"

enum { MAX_FDS = 65536, INPUT_BYTES = 16384, PATH_BYTES = 160, BACKLOG_BYTES = 16 << 20 };

struct peer {
    int open, upgraded, room, place;
    size_t input_bytes;
    uint8_t *input;
    uint8_t *backlog; /* what the kernel refused, in order */
    size_t backlog_bytes, backlog_capacity;
    int due;
};

struct room { char path[PATH_BYTES]; int *members; int count, capacity; long messages; };

static struct peer peers[MAX_FDS];
static struct room *rooms;
static int room_count, epoll_fd, gathering, due_count, due[MAX_FDS];

static int find_room(const char *path) {
    for (int i = 0; i < room_count; i++)
        if (!strcmp(rooms[i].path, path)) return i;
    rooms = realloc(rooms, sizeof *rooms * (size_t)(room_count + 1));
    memset(&rooms[room_count], 0, sizeof *rooms);
    snprintf(rooms[room_count].path, PATH_BYTES, "%s", path);
    return room_count++;
}

static void enter(int fd, int number) {
    struct room *room = &rooms[number];
    if (room->count == room->capacity) {
        room->capacity = room->capacity ? room->capacity * 2 : 4;
        room->members = realloc(room->members, sizeof(int) * (size_t)room->capacity);
    }
    peers[fd].room = number;
    peers[fd].place = room->count;
    room->members[room->count++] = fd;
}

static void hang_up(int fd) {
    struct peer *peer = &peers[fd];
    if (!peer->open) return;
    if (peer->upgraded) {
        struct room *room = &rooms[peer->room];
        int last = room->members[--room->count];
        room->members[peer->place] = last;
        peers[last].place = peer->place;
    }
    free(peer->input);
    free(peer->backlog);
    memset(peer, 0, sizeof *peer);
    close(fd);
}

static void watch(int fd, uint32_t events, int operation) {
    struct epoll_event event = {.events = events, .data.fd = fd};
    epoll_ctl(epoll_fd, operation, fd, &event);
}

static void push(int fd, const uint8_t *bytes, size_t length) {
    struct peer *peer = &peers[fd];
    if (!peer->open) return;
    ssize_t sent = 0;
    if (gathering && peer->upgraded) {
        if (!peer->due) due[due_count++] = fd;
        peer->due = 1;
    } else if (!peer->backlog_bytes) {
        sent = send(fd, bytes, length, MSG_NOSIGNAL);
        if (sent == (ssize_t)length) return;
        if (sent < 0) {
            if (errno != EAGAIN) return; /* the read side sees the end too, and hangs up outside any loop over members */
            sent = 0;
        }
        watch(fd, EPOLLIN | EPOLLOUT, EPOLL_CTL_MOD);
    }
    size_t rest = length - (size_t)sent;
    if (peer->backlog_bytes + rest > BACKLOG_BYTES) {
        shutdown(fd, SHUT_RDWR);
        return;
    }
    if (peer->backlog_bytes + rest > peer->backlog_capacity) {
        peer->backlog_capacity = (peer->backlog_bytes + rest) * 2;
        peer->backlog = realloc(peer->backlog, peer->backlog_capacity);
    }
    memcpy(peer->backlog + peer->backlog_bytes, bytes + sent, rest);
    peer->backlog_bytes += rest;
}

static void drain(int fd) {
    struct peer *peer = &peers[fd];
    ssize_t sent = send(fd, peer->backlog, peer->backlog_bytes, MSG_NOSIGNAL);
    if (sent <= 0) return;
    peer->backlog_bytes -= (size_t)sent;
    memmove(peer->backlog, peer->backlog + sent, peer->backlog_bytes);
    if (!peer->backlog_bytes && !gathering) watch(fd, EPOLLIN, EPOLL_CTL_MOD);
}

/* The end of a turn: one `send` for each member that something was gathered for. */
static void send_gathered(void) {
    for (int i = 0; i < due_count; i++) {
        struct peer *peer = &peers[due[i]];
        if (!peer->open || !peer->due) continue;
        peer->due = 0;
        drain(due[i]);
        if (peer->backlog_bytes) watch(due[i], EPOLLIN | EPOLLOUT, EPOLL_CTL_MOD);
    }
    due_count = 0;
}

static void fan_out(int fd, const char *text, size_t length) {
    static uint8_t frame[INPUT_BYTES + 1024];
    static char body[INPUT_BYTES + 512];
    const char *start = memmem(text, length, "\"content\":\"", 11);
    if (!start) return;
    start += 11;
    const char *end = memchr(start, '"', length - (size_t)(start - text));
    if (!end) return;
    struct room *room = &rooms[peers[fd].room];
    int size = snprintf(body, sizeof body,
                        "{\"type\":\"chat_message\",\"message\":{\"id\":%ld,\"room_id\":\"%s\",\"sender\":\"user\",\"sender_id\":%d,"
                        "\"content\":\"%.*s\",\"message_type\":\"text\",\"reply_to\":null,\"reactions\":{},"
                        "\"created_at\":\"2026-01-01T00:00:00.000Z\"}}",
                        ++room->messages, room->path, fd, (int)(end - start), start);
    size_t offset = write_header(frame, OPCODE_TEXT, (uint64_t)size, NULL);
    memcpy(frame + offset, body, (size_t)size);
    for (int i = 0; i < room->count; i++) push(room->members[i], frame, offset + (size_t)size);
}

static int upgrade(int fd) {
    struct peer *peer = &peers[fd];
    char *request = (char *)peer->input, *end = memmem(request, peer->input_bytes, "\r\n\r\n", 4);
    if (!end) return peer->input_bytes < INPUT_BYTES ? 0 : -1;
    *end = 0;
    char path[PATH_BYTES], accept[29], answer[256];
    const char *key = strcasestr(request, "\r\nSec-WebSocket-Key: ");
    if (sscanf(request, "GET %159s HTTP/1.1", path) != 1 || !key || end - key < 21 + 24) return -1;
    accept_of(key + 21, accept);
    int size = snprintf(answer, sizeof answer,
                        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                        "Sec-WebSocket-Accept: %s\r\n\r\n", accept);
    push(fd, (uint8_t *)answer, (size_t)size);
    size_t used = (size_t)(end + 4 - request);
    peer->input_bytes -= used;
    memmove(peer->input, peer->input + used, peer->input_bytes);
    enter(fd, find_room(path));
    peer->upgraded = 1;
    return 0;
}

/* Handles the whole frames gathered so far; -1 means that the peer is to be hung up on. */
static int take_frames(int fd) {
    struct peer *peer = &peers[fd];
    size_t used = 0;
    struct header header;
    for (;;) {
        size_t size = parse_header(peer->input + used, peer->input_bytes - used, &header);
        if (!size) break;
        if (!header.masked || header.length > INPUT_BYTES - 64) return -1;
        if (peer->input_bytes - used < size + header.length) break;
        uint8_t *payload = peer->input + used + size;
        for (uint64_t i = 0; i < header.length; i++) payload[i] ^= header.mask[i & 3];
        used += size + header.length;
        if (header.opcode == OPCODE_TEXT) {
            fan_out(fd, (char *)payload, header.length);
        } else if (header.opcode == OPCODE_CLOSE || (header.opcode == OPCODE_PING && header.length <= 125)) {
            uint8_t answer[160];
            size_t length = header.length > 125 ? 125 : header.length;
            size_t offset = write_header(answer, header.opcode == OPCODE_PING ? OPCODE_PONG : OPCODE_CLOSE, length, NULL);
            memcpy(answer + offset, payload, length);
            push(fd, answer, offset + length);
            if (header.opcode == OPCODE_CLOSE) return -1;
        }
    }
    peer->input_bytes -= used;
    memmove(peer->input, peer->input + used, peer->input_bytes);
    return 0;
}

static void read_from(int fd) {
    struct peer *peer = &peers[fd];
    if (!peer->input) peer->input = malloc(INPUT_BYTES);
    ssize_t got = recv(fd, peer->input + peer->input_bytes, INPUT_BYTES - peer->input_bytes, 0);
    if (got < 0 && errno == EAGAIN) return;
    if (got <= 0) {
        hang_up(fd);
        return;
    }
    peer->input_bytes += (size_t)got;
    if ((!peer->upgraded && upgrade(fd) < 0) || (peer->upgraded && take_frames(fd) < 0)) {
        hang_up(fd);
    } else if (!peer->input_bytes) {
        free(peer->input); /* an idle peer costs nothing */
        peer->input = NULL;
    }
}

static void take_newcomers(int listener) {
    for (int i = 0; i < 64; i++) {
        int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK), on = 1;
        if (fd < 0) return;
        if (fd >= MAX_FDS) {
            close(fd);
            continue;
        }
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        peers[fd] = (struct peer){.open = 1};
        watch(fd, EPOLLIN, EPOLL_CTL_ADD);
    }
}

int main(int argc, char **argv) {
    int port = argc > 1 ? atoi(argv[1]) : 0, on = 1;
    gathering = argc == 3 && !strcmp(argv[2], "gather");
    if (port <= 0 || argc > 2 + gathering) {
        fprintf(stderr, "usage: fanout PORT [gather]\n");
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 1024)) {
        perror("fanout: listen");
        return 2;
    }
    epoll_fd = epoll_create1(0);
    watch(listener, EPOLLIN, EPOLL_CTL_ADD);
    struct epoll_event events[256];
    for (;;) {
        int count = epoll_wait(epoll_fd, events, 256, -1);
        for (int i = 0; i < count; i++) {
            int fd = events[i].data.fd;
            if (fd == listener) {
                take_newcomers(listener);
                continue;
            }
            if (peers[fd].open && events[i].events & EPOLLOUT) {
                if (peers[fd].backlog_bytes) drain(fd);
                if (gathering && !peers[fd].backlog_bytes) watch(fd, EPOLLIN, EPOLL_CTL_MOD);
            }
            if (peers[fd].open && events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) read_from(fd);
        }
        send_gathered();
    }
}
