/* SPDX-License-Identifier: Apache-2.0 */
/* minivmm-display from outside: command line, socket, pictures, signals, what it gives up. */
#include <errno.h>
#include <fcntl.h>
#include <png.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include <linux/sockios.h>

#include "base/fd.h"
#include "base/range.h"
#include "base/unix_addr.h"
#include "minivmm_config.h"
#include "spawn.h"
#include "vhost/display/protocol.h"

enum { WIDTH = 6, HEIGHT = 4 };

struct rig {
	char dir[64];
	int dir_fd;
	int watch;			/* inotify of dir: names that appear */
	struct spawn program;
	int sock;			/* the daemon's */
};

static int setup(void **state)
{
	struct rig *r = calloc(1, sizeof(*r));

	*r = (struct rig){ .program = SPAWN_NONE, .sock = -1 };
	snprintf(r->dir, sizeof(r->dir), "/tmp/test-display-XXXXXX");
	assert_non_null(mkdtemp(r->dir));
	r->dir_fd = open(r->dir, O_DIRECTORY | O_RDONLY | O_CLOEXEC);
	r->watch = inotify_init1(IN_CLOEXEC);
	assert_true(inotify_add_watch(r->watch, r->dir, IN_MOVED_TO) >= 0);
	*state = r;
	return 0;
}

static int teardown(void **state)
{
	struct rig *r = *state;
	char command[96];

	spawn_fini(&r->program);
	fd_close(&r->sock);
	close(r->watch);
	close(r->dir_fd);
	snprintf(command, sizeof(command), "rm -rf %s", r->dir);
	assert_int_equal(system(command), 0);
	free(r);
	return 0;
}

/* Until @name has appeared in the directory, once more. */
static void wait_for(struct rig *r, const char *name)
{
	char buf[sizeof(struct inotify_event) + 256] __attribute__((aligned(8)));
	struct pollfd p = { .fd = r->watch, .events = POLLIN };

	for (;;) {
		ssize_t n;

		if (poll(&p, 1, SPAWN_PATIENCE_MS) != 1)
			fail_msg("%s does not appear", name);
		/* Room for one, or for several with short names. */
		n = read(r->watch, buf, sizeof(buf));
		for (ssize_t at = 0; at < n;) {
			const struct inotify_event *e = (const void *)(buf + at);

			if (!strcmp(e->name, name))
				return;
			at += (ssize_t)sizeof(*e) + e->len;
		}
	}
}

static void start(struct rig *r, const char *const *args)
{
	spawn_start(&r->program, MINIVMM_DISPLAY, r->dir, args, -1);
}

#define RUN(r, ...) \
	(start(r, (const char *const[]){ __VA_ARGS__, NULL }), spawn_finish(&(r)->program))
#define START(r, ...)                                                          \
	do {                                                                   \
		start(r, (const char *const[]){ "--socket=socket", __VA_ARGS__, NULL }); \
		wait_for(r, "socket");                                         \
	} while (0)

/* Ends it; it says nothing and leaves no socket. */
static void stop(struct rig *r)
{
	assert_int_equal(kill(r->program.pid, SIGTERM), 0);
	assert_int_equal(spawn_finish(&r->program), 0);
	assert_string_equal(r->program.err_text, "");
	assert_int_equal(faccessat(r->dir_fd, "socket", F_OK, 0), -1);
}

static void assert_sentence(const struct rig *r, const char *words)
{
	const char *text = r->program.err_text, *end = strchr(text, '\n');

	assert_string_equal(r->program.out_text, "");
	assert_true(end && !end[1]);
	if (!strstr(text, words))
		fail_msg("\"%s\" is not in: %s", words, text);
}

static void connect_daemon(struct rig *r)
{
	struct sockaddr_un addr;
	char path[96];
	struct err e;

	fd_close(&r->sock);
	snprintf(path, sizeof(path), "%s/socket", r->dir);
	assert_int_equal(unix_addr(&addr, path, &e), 0);
	r->sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(connect(r->sock, (const struct sockaddr *)&addr, sizeof(addr)), 0);
}

static void say(struct rig *r, uint32_t request, const void *payload, uint32_t size)
{
	const struct gpu_header h = { request, 0, size };

	assert_int_equal(fd_write_all(r->sock, &h, sizeof(h)), 0);
	assert_int_equal(fd_write_all(r->sock, payload, size), 0);
}

/* All of the screen becomes of one colour, and the display has read that. */
static void paint(struct rig *r, uint32_t colour)
{
	struct {
		struct gpu_area a;
		uint32_t pixels[WIDTH * HEIGHT];
	} u = { .a = { 0, 0, 0, WIDTH, HEIGHT } };
	uint8_t answer[sizeof(struct gpu_header) + 8];

	for (size_t i = 0; i < ARRAY_SIZE(u.pixels); i++)
		u.pixels[i] = colour;
	say(r, GPU_UPDATE, &u, sizeof(u));
	say(r, GPU_GET_PROTOCOL_FEATURES, NULL, 0);
	assert_int_equal(recv(r->sock, answer, sizeof(answer), MSG_WAITALL), sizeof(answer));
}

/* The same, of a new screen. */
static void show(struct rig *r, uint32_t colour)
{
	const struct gpu_scanout s = { 0, WIDTH, HEIGHT };

	say(r, GPU_SCANOUT, &s, sizeof(s));
	paint(r, colour);
}

/* The colour of a whole picture, of the right size. */
static uint32_t colour_of(struct rig *r, const char *name)
{
	png_image image = { .version = PNG_IMAGE_VERSION };
	uint8_t pixels[WIDTH * HEIGHT * 3];
	char path[96];

	snprintf(path, sizeof(path), "%s/%s", r->dir, name);
	assert_true(png_image_begin_read_from_file(&image, path));
	assert_int_equal(image.width, WIDTH);
	assert_int_equal(image.height, HEIGHT);
	image.format = PNG_FORMAT_RGB;
	assert_true(png_image_finish_read(&image, NULL, pixels, 0, NULL));
	for (size_t i = 3; i < sizeof(pixels); i++)
		assert_int_equal(pixels[i], pixels[i % 3]);
	return (uint32_t)pixels[0] << 16 | (uint32_t)pixels[1] << 8 | pixels[2];
}

static void wait_for_colour(struct rig *r, const char *name, uint32_t colour)
{
	do
		wait_for(r, name);
	while (colour_of(r, name) != colour);
}

static void wrong_command_lines_get_one_sentence_and_2(void **state)
{
	static const struct {
		const char *args[5], *words;
	} bad[] = {
		{ { NULL }, "--socket PATH" },
		{ { "--png=a" }, "--socket PATH" },
		{ { "--socket=s" }, "--png FILE and --dir DIR" },
		{ { "--socket=s", "--png=a", "--dir=b" }, "one of" },
		{ { "--socket" }, "needs a value" },
		{ { "--socket=" }, "not empty" },
		{ { "--socket=a", "--socket=b" }, "twice" },
		{ { "--bogus" }, "no option of minivmm-display" },
		{ { "stray" }, "no option" },
		{ { "--size=1280" }, "--size: 1280 is not" },
		{ { "--size=15x100" }, "16 to 4080" },
		{ { "--size=100x4081" }, "16 to 4080" },
		{ { "--size=-100x100" }, "--size" },
		{ { "--size=100x100x" }, "--size" },
		{ { "--size=4294967396x100" }, "--size" },
		{ { "--rate=1001" }, "--rate" },
		{ { "--rate=x" }, "--rate" },
		{ { "--keep=0" }, "--keep" },
		{ { "--seccomp=maybe" }, "--seccomp" },
		{ { "--log-level=loud" }, "--log-level" },
		{ { "--help=yes" }, "takes no value" },
	};
	struct rig *r = *state;

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		start(r, bad[i].args);
		assert_int_equal(spawn_finish(&r->program), 2);
		assert_sentence(r, bad[i].words);
	}
}

static void what_cannot_be_set_up_gets_one_sentence_and_1(void **state)
{
	struct rig *r = *state;

	assert_int_equal(mkdirat(r->dir_fd, "there", 0700), 0);
	assert_int_equal(RUN(r, "--socket=socket", "--png=no/where"), 1);
	assert_sentence(r, "the directory no");
	assert_int_equal(RUN(r, "--socket=socket", "--png=there/"), 1);
	assert_sentence(r, "no name of a file");
	assert_int_equal(RUN(r, "--socket=socket", "--png=there"), 1);
	assert_sentence(r, "not a regular file");
	assert_int_equal(RUN(r, "--socket=socket", "--dir=nowhere"), 1);
	assert_sentence(r, "the directory nowhere");
	assert_int_equal(RUN(r, "--socket=no/where", "--png=out.png"), 1);
	assert_sentence(r, "--socket no/where");
}

static void help_and_manual_name_the_same_options(void **state)
{
	struct rig *r = *state;
	static char manual[32768];
	autoclose int fd = open(MINIVMM_DISPLAY_MANUAL, O_RDONLY | O_CLOEXEC);
	unsigned options = 0, entries = 0;
	char *line, *rest;

	assert_true(fd >= 0 && read(fd, manual, sizeof(manual) - 1) > 0);
	assert_int_equal(RUN(r, "--help"), 0);
	for (line = strtok_r(r->program.out_text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
		char name[32], word[32], entry[96] = "\n.TP\n.B \\-\\-";
		const char *at = name;

		if (strncmp(line, "  --", 4) || sscanf(line, "  --%31[a-z-]", name) != 1)
			continue;
		while (*at) {
			snprintf(word, sizeof(word), *at == '-' ? "\\-" : "%c", *at);
			strcat(entry, word);
			at++;
		}
		if (!strstr(manual, entry))
			fail_msg("\"%s\" is not in the manual page", name);
		options++;
	}
	for (line = strstr(manual, "\n.TP\n.B \\-\\-"); line; line = strstr(line + 1, "\n.TP\n.B \\-\\-"))
		entries++;
	assert_int_equal(entries, options);
	assert_int_equal(RUN(r, "--version"), 0);
	assert_string_equal(r->program.out_text, "minivmm-display " MINIVMM_VERSION "\n");
}

static void a_picture_follows_each_change(void **state)
{
	struct rig *r = *state;

	START(r, "--png=out.png", "--rate=1000");
	for (uint32_t colour = 0x102030; colour < 0x600000; colour += 0x102030) {
		connect_daemon(r);
		show(r, colour);
		wait_for_colour(r, "out.png", colour);
	}
	stop(r);
	/* Nothing that is not whole is left. */
	assert_int_equal(faccessat(r->dir_fd, "out.png.new", F_OK, 0), -1);
}

static void the_last_change_has_its_picture_at_the_end(void **state)
{
	struct rig *r = *state;

	START(r, "--png=out.png", "--rate=0");
	connect_daemon(r);
	show(r, 0x123456);
	assert_int_equal(faccessat(r->dir_fd, "out.png", F_OK, 0), -1);
	stop(r);
	assert_int_equal(colour_of(r, "out.png"), 0x123456);

	START(r, "--png=out.png", "--rate=0");
	connect_daemon(r);
	show(r, 0x654321);
	fd_close(&r->sock);
	wait_for(r, "out.png");
	assert_int_equal(colour_of(r, "out.png"), 0x654321);
	/* The picture stays, and so does the screen. */
	assert_int_equal(unlinkat(r->dir_fd, "out.png", 0), 0);
	assert_int_equal(kill(r->program.pid, SIGUSR1), 0);
	wait_for(r, "out.png");
	assert_int_equal(colour_of(r, "out.png"), 0x654321);
	stop(r);
}

static void sigusr1_gets_a_picture_of_whole_messages(void **state)
{
	const struct gpu_header h = { GPU_UPDATE, 0, sizeof(struct gpu_area) + 4 * WIDTH };
	const struct gpu_area a = { 0, 0, 0, WIDTH, 1 };
	const uint32_t pixels[WIDTH] = { 0xffffff, 0xffffff, 0xffffff };
	struct rig *r = *state;

	START(r, "--png=out.png", "--rate=0");
	assert_int_equal(kill(r->program.pid, SIGUSR1), 0);
	connect_daemon(r);
	show(r, 0x0000ff);
	assert_int_equal(kill(r->program.pid, SIGUSR1), 0);
	wait_for_colour(r, "out.png", 0x0000ff);
	/* Half a line of white, then the question: the picture has the whole line. */
	assert_int_equal(fd_write_all(r->sock, &h, sizeof(h)), 0);
	assert_int_equal(fd_write_all(r->sock, &a, sizeof(a)), 0);
	assert_int_equal(fd_write_all(r->sock, pixels, 8), 0);
	assert_int_equal(kill(r->program.pid, SIGUSR1), 0);
	assert_int_equal(fd_write_all(r->sock, pixels + 2, sizeof(pixels) - 8), 0);
	wait_for(r, "out.png");
	show(r, 0x00ff00);
	stop(r);
	assert_int_equal(colour_of(r, "out.png"), 0x00ff00);
}

/* All of it has been read. */
static void settle(struct rig *r)
{
	const struct timespec moment = { .tv_nsec = 1000000 };
	int left = 1;

	for (unsigned i = 0; i < SPAWN_PATIENCE_MS && left; i++) {
		assert_int_equal(ioctl(r->sock, SIOCOUTQ, &left), 0);
		nanosleep(&moment, NULL);
	}
	assert_int_equal(left, 0);
}

static void sigusr1_gets_a_picture_when_the_daemon_ends_within_a_message(void **state)
{
	const struct {
		struct gpu_header h;
		struct gpu_area a;
		uint32_t pixel;
	} m = { { GPU_UPDATE, 0, sizeof(m.a) + 4 * WIDTH }, { 0, 0, 0, WIDTH, 1 }, 0x0000ff };
	struct rig *r = *state;

	START(r, "--png=out.png", "--rate=0");
	connect_daemon(r);
	show(r, 0x0000ff);
	assert_int_equal(kill(r->program.pid, SIGUSR1), 0);
	wait_for_colour(r, "out.png", 0x0000ff);
	assert_int_equal(fd_write_all(r->sock, &m, sizeof(m)), 0);
	settle(r);
	assert_int_equal(kill(r->program.pid, SIGUSR1), 0);
	fd_close(&r->sock);
	wait_for(r, "out.png");
	assert_int_equal(kill(r->program.pid, SIGTERM), 0);
	assert_int_equal(spawn_finish(&r->program), 0);
	assert_sentence(r, "it ends within a message");
}

static void numbered_pictures_are_kept_so_many(void **state)
{
	struct rig *r = *state;

	START(r, "--dir=.", "--keep=2", "--rate=0");
	connect_daemon(r);
	for (uint32_t i = 1; i <= 4; i++) {
		char name[32];

		show(r, i);
		assert_int_equal(kill(r->program.pid, SIGUSR1), 0);
		snprintf(name, sizeof(name), "%06u.png", i);
		wait_for(r, name);
		assert_int_equal(colour_of(r, name), i);
	}
	stop(r);
	assert_int_equal(faccessat(r->dir_fd, "000001.png", F_OK, 0), -1);
	assert_int_equal(faccessat(r->dir_fd, "000002.png", F_OK, 0), -1);
	assert_int_equal(colour_of(r, "000003.png"), 3);
}

static void a_picture_that_cannot_be_written_is_told_once(void **state)
{
	const struct rlimit none = { 10, 10 };
	struct rig *r = *state;

	START(r, "--png=out.png", "--rate=0");
	connect_daemon(r);
	show(r, 1);
	assert_int_equal(kill(r->program.pid, SIGUSR1), 0);
	wait_for(r, "out.png");
	assert_int_equal(prlimit(r->program.pid, RLIMIT_FSIZE, &none, NULL), 0);
	for (uint32_t i = 2; i < 5; i++) {
		paint(r, i);
		connect_daemon(r);
		paint(r, i);
	}
	assert_int_equal(kill(r->program.pid, SIGTERM), 0);
	assert_int_equal(spawn_finish(&r->program), 0);
	assert_sentence(r, "out.png: the picture cannot be written: File too large");
	assert_int_equal(colour_of(r, "out.png"), 1);
	assert_int_equal(faccessat(r->dir_fd, "out.png.new", F_OK, 0), -1);
}

static void without_a_descriptor_it_waits_for_one(void **state)
{
	struct rig *r = *state;
	struct pollfd word;
	struct rlimit some, few;

	START(r, "--png=out.png");
	assert_int_equal(prlimit(r->program.pid, RLIMIT_NOFILE, NULL, &some), 0);
	few = (struct rlimit){ STDERR_FILENO + 1, some.rlim_max };
	assert_int_equal(prlimit(r->program.pid, RLIMIT_NOFILE, &few, NULL), 0);
	connect_daemon(r);
	word = (struct pollfd){ .fd = r->program.err, .events = POLLIN };
	assert_int_equal(poll(&word, 1, SPAWN_PATIENCE_MS), 1);
	assert_int_equal(prlimit(r->program.pid, RLIMIT_NOFILE, &some, NULL), 0);
	show(r, 1);
	assert_int_equal(kill(r->program.pid, SIGTERM), 0);
	assert_int_equal(spawn_finish(&r->program), 0);
	assert_sentence(r, "socket: nobody can connect just now: Too many open files");
}

static void what_is_in_the_way_of_a_picture_holds_up_nobody(void **state)
{
	struct rig *r = *state;

	assert_int_equal(mkfifoat(r->dir_fd, "out.png.new", 0600), 0);
	START(r, "--png=out.png");
	connect_daemon(r);
	show(r, 1);
	wait_for_colour(r, "out.png", 1);
	stop(r);
}

static void every_filter_mode_serves(void **state)
{
	static const char *const modes[] = { "--seccomp=kill", "--seccomp=log", "--seccomp=errno", "--seccomp=off" };
	struct rig *r = *state;

	for (size_t i = 0; i < ARRAY_SIZE(modes); i++) {
		if (!HAVE_SECCOMP && i < 3)
			continue;
		START(r, "--png=out.png", "--rate=1000", modes[i]);
		connect_daemon(r);
		show(r, 0x010101 * (uint32_t)(i + 1));
		wait_for_colour(r, "out.png", 0x010101 * (uint32_t)(i + 1));
		stop(r);
	}
}

/* The value of a line of /proc/PID/status. */
static unsigned long long status_of(pid_t pid, const char *name)
{
	char path[64], text[4096];
	autoclose int fd = -1;
	const char *at;
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	n = read(fd, text, sizeof(text) - 1);
	assert_true(n > 0);
	text[n] = '\0';
	at = strstr(text, name);
	assert_non_null(at);
	return strtoull(at + strlen(name) + 1, NULL, 16);
}

static void it_has_no_rights_left_when_it_serves(void **state)
{
	struct rig *r = *state;

	START(r, "--png=out.png");
	connect_daemon(r);
	show(r, 0);
	assert_int_equal(status_of(r->program.pid, "\nNoNewPrivs"), 1);
	assert_int_equal(status_of(r->program.pid, "\nCapEff"), 0);
	assert_int_equal(status_of(r->program.pid, "\nCapPrm"), 0);
	assert_int_equal(status_of(r->program.pid, "\nSeccomp"), HAVE_SECCOMP ? 2 : 0);
	stop(r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
		T(wrong_command_lines_get_one_sentence_and_2),
		T(what_cannot_be_set_up_gets_one_sentence_and_1),
		T(help_and_manual_name_the_same_options),
		T(a_picture_follows_each_change),
		T(the_last_change_has_its_picture_at_the_end),
		T(sigusr1_gets_a_picture_of_whole_messages),
		T(sigusr1_gets_a_picture_when_the_daemon_ends_within_a_message),
		T(numbered_pictures_are_kept_so_many),
		T(a_picture_that_cannot_be_written_is_told_once),
		T(without_a_descriptor_it_waits_for_one),
		T(what_is_in_the_way_of_a_picture_holds_up_nobody),
		T(every_filter_mode_serves),
		T(it_has_no_rights_left_when_it_serves),
#undef T
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
