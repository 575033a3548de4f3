// The ground that agent and supervisor share: packets and the small files. The process itself is
// tested through the runtime (runtime_test.c).
#include "base/arena.h"
#include "base/env.h"
#include "runtime/runtime_oci.h"
#include "runtime/supervisor.h"
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static void test_packets(void **state)
{
    (void)state;
    int pair[2], fds[2];
    char buffer[SUPERVISOR_PACKET_MAX];
    struct supervisor_packet p;
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    struct str strings[] = {STR("id"), STR(""), STR("three")};
    assert_int_equal(supervisor_send(pair[0], 0, SUPERVISOR_EXEC, 7, -404, strings, 3, fds, 2), 0);
    assert_int_equal(supervisor_receive(pair[1], 0, buffer, sizeof buffer, &p), 1);
    assert_int_equal(p.head.version, SUPERVISOR_VERSION);
    assert_int_equal(p.head.type, SUPERVISOR_EXEC);
    assert_int_equal(p.head.call, 7);
    assert_int_equal(p.head.code, -404);
    assert_int_equal(p.head.nstrings, 3);
    assert_true(str_eqc(p.strings[0], "id") && p.strings[1].n == 0 &&
                str_eqc(p.strings[2], "three"));
    assert_int_equal(p.nfds, 2);
    assert_int_equal(write(p.fds[1], "x", 1), 1);
    char byte;
    assert_int_equal(read(fds[0], &byte, 1), 1);
    close(p.fds[0]);
    close(p.fds[1]);
    // Too large to send; nothing to read; garbage; the end.
    static char large[SUPERVISOR_PACKET_MAX];
    struct str one = str_n(large, sizeof large);
    assert_int_equal(supervisor_send(pair[0], 0, 1, 1, 0, &one, 1, NULL, 0), -EMSGSIZE);
    assert_int_equal(supervisor_receive(pair[1], MSG_DONTWAIT, buffer, sizeof buffer, &p), -EAGAIN);
    assert_int_equal(send(pair[0], "garbage", 7, 0), 7);
    assert_int_equal(supervisor_receive(pair[1], 0, buffer, sizeof buffer, &p), -EPROTO);
    close(pair[0]);
    assert_int_equal(supervisor_receive(pair[1], 0, buffer, sizeof buffer, &p), 0);
    close(pair[1]);
    close(fds[0]);
    close(fds[1]);
    // Every truncation and every wrong length of a good packet is refused.
    struct supervisor_head head = {
        .version = 1, .nstrings = 2, .length = sizeof head + 4 + 2 + 4 + 3};
    uint32_t two = 2, three = 3;
    memcpy(buffer, &head, sizeof head);
    memcpy(buffer + sizeof head, &two, 4);
    memcpy(buffer + sizeof head + 4, "ab", 2);
    memcpy(buffer + sizeof head + 6, &three, 4);
    memcpy(buffer + sizeof head + 10, "cde", 3);
    assert_true(supervisor_decode(buffer, head.length, &p));
    for (uint32_t n = 0; n < head.length; n++) {
        assert_false(supervisor_decode(buffer, n, &p));
        if (n < sizeof head)
            continue;
        struct supervisor_head shorter = head;
        shorter.length = n;
        memcpy(buffer, &shorter, sizeof shorter);
        assert_false(supervisor_decode(buffer, n, &p));
        memcpy(buffer, &head, sizeof head);
    }
    uint32_t huge = UINT32_MAX;
    memcpy(buffer + sizeof head, &huge, 4);
    assert_false(supervisor_decode(buffer, head.length, &p));
}

static void write_text(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    close(fd);
}

static void test_files(void **state)
{
    (void)state;
    char dir[] = "/tmp/coracle-superv-XXXXXX", path[256];
    struct err e = ERR_INIT;
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/exit", dir);
    struct supervisor_exit x;
    assert_int_equal(supervisor_exit_read(path, &x, &e), -404);
    err_done(&e);
    write_text(path, "137 9 1 10 20 OOMKilled\nmany\nwords\n");
    assert_int_equal(supervisor_exit_read(path, &x, NULL), 0);
    assert_true(x.code == 137 && x.signal == 9 && x.oom && x.started_ns == 10 &&
                x.finished_ns == 20);
    assert_string_equal(x.reason, "OOMKilled");
    assert_string_equal(x.message, "many\nwords");
    free(x.message);
    write_text(path, "137 9");
    e = ERR_INIT;
    assert_int_equal(supervisor_exit_read(path, &x, &e), -500);
    assert_non_null(strstr(e.message, "is not a record of an exit"));
    err_done(&e);

    struct supervisor_pid p;
    char text[128];
    assert_true(supervisor_process_start(getpid()) > 0);
    snprintf(text, sizeof text, "%d %llu 5\n", getpid(),
             (unsigned long long)supervisor_process_start(getpid()));
    write_text(path, text);
    assert_true(supervisor_pid_read(path, &p) && p.pid == getpid() && p.started_ns == 5);
    snprintf(text, sizeof text, "%d 1 5\n", getpid()); // the number is another process's by now
    write_text(path, text);
    assert_false(supervisor_pid_read(path, &p));
    unlink(path);

    snprintf(path, sizeof path, "%s/containers", dir);
    mkdir(path, 0755);
    snprintf(path, sizeof path, "%s/containers/x", dir);
    mkdir(path, 0755);
    snprintf(path, sizeof path, "%s/containers/x/launch", dir);
    write_text(
        path,
        "program /usr/bin/crun\nlog /l o/g\nunknown 1\ntty 1\nown-pids 0\noverlay lowerdir=a:b");
    struct supervisor_launch l;
    assert_int_equal(supervisor_launch_read(dir, "x", &l, NULL), 0);
    assert_string_equal(l.program, "/usr/bin/crun");
    assert_string_equal(l.log, "/l o/g");
    assert_string_equal(l.overlay, "lowerdir=a:b");
    assert_true(l.tty && !l.own_pids && !l.stdin_open);
    supervisor_launch_done(&l);
    write_text(path, "log x\n");
    e = ERR_INIT;
    assert_int_equal(supervisor_launch_read(dir, "x", &l, &e), -500);
    assert_non_null(strstr(e.message, "names no runtime program"));
    err_done(&e);
    unlink(path);
    for (char *end; (end = strrchr(path, '/')) && strlen(path) > strlen(dir);) {
        *end = 0;
        rmdir(path);
    }
}

static void test_signals(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        int number;
    } rows[] = {{"SIGTERM", SIGTERM}, {"TERM", SIGTERM}, {"15", 15},        {"SIGRTMIN+3", 37},
                {"RTMAX-1", 63},      {"RTMIN", 34},     {"nope", -1},      {"0", -1},
                {"65", -1},           {"RTMIN-3", -1},   {"SIGRTMIN+", -1}, {"", -1}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        assert_int_equal(oci_signal_number(str_of(rows[i].name)), rows[i].number);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_packets),
        cmocka_unit_test(test_files),
        cmocka_unit_test(test_signals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
