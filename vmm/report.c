/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/report.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"

static const char *const stamp_names[] = {
	[STAMP_EXEC] = "exec",
	[STAMP_VM_CREATED] = "vm_created",
	[STAMP_RAM_READY] = "ram_ready",
	[STAMP_DAEMONS_READY] = "daemons_ready",
	[STAMP_FIRST_RUN] = "first_kvm_run",
	[STAMP_FIRST_SERIAL] = "first_serial_byte",
	[STAMP_GUEST_INIT] = "guest_init",
};
static_assert(sizeof(stamp_names) / sizeof(stamp_names[0]) == STAMPS, "every stamp has a name");

int report_init(struct report *r, const char *path, struct err *e)
{
	*r = (struct report){ .path = path };
	report_stamp(r, STAMP_EXEC);
	if (!path)
		return 0;
	r->out = strcmp(path, "-") ? fopen(path, "we") : stderr;
	return r->out ? 0 : err_sys(e, "--boot-report: %s cannot be written", path);
}

void report_stamp(struct report *r, enum report_stamp s)
{
	if (!r->stamps[s])
		r->stamps[s] = clock_ns();
}

static void write_stamps(const struct report *r)
{
	const char *comma = "";

	fputs("  \"nanoseconds\": {", r->out);
	for (int s = 0; s < STAMPS; s++) {
		if (!r->stamps[s])
			continue;
		fprintf(r->out, "%s\n    \"%s\": %" PRIu64, comma, stamp_names[s],
			r->stamps[s] - r->stamps[STAMP_EXEC]);
		comma = ",";
	}
	fputs("\n  },\n", r->out);
}

static void write_exits(const struct report *r, const struct vcpus *v)
{
	uint64_t total = 0;

	fputs("  \"userspace_exits\": {", r->out);
	for (int k = 0; k < EXIT_KINDS; k++) {
		uint64_t n = 0;

		for (unsigned i = 0; i < v->count; i++)
			n += v->vcpu[i].exits[k];
		total += n;
		fprintf(r->out, "\n    \"%s\": %" PRIu64 ",", vcpu_exit_names[k], n);
	}
	fprintf(r->out, "\n    \"total\": %" PRIu64 "\n  },\n", total);
}

/* The page size RAM was measured to get; and, where thp=auto got no huge pages, why. */
static void write_memory(const struct report *r, const struct guest_mem *m)
{
	const struct mem_backing *b = &m->backing;

	fprintf(r->out, "  \"memory\": {\n    \"bytes\": %" PRIu64 ",\n    \"kind\": \"%s\",\n",
		m->size, b->kind);
	if (b->note[0]) {
		fputs("    \"note\": \"", r->out);
		for (const char *c = b->note; *c; c++)
			fprintf(r->out, *c == '"' || *c == '\\' ? "\\%c" : "%c", *c);
		fputs("\",\n", r->out);
	}
	fprintf(r->out, "    \"page_size\": %" PRIu64 "\n  },\n",
		b->huge_size ? b->huge_size : b->page_size);
}

int report_write(struct report *r, const struct guest_mem *m, const struct vcpus *v, int exit_code)
{
	int error;

	if (!r->out)
		return 0;
	r->stamps[STAMP_FIRST_RUN] = v->first_run;
	fputs("{\n", r->out);
	write_stamps(r);
	write_exits(r, v);
	write_memory(r, m);
	fprintf(r->out, "  \"cpus\": %u,\n  \"exit_code\": %d\n}\n", v->count, exit_code);
	error = fflush(r->out) || ferror(r->out) ? (errno ? errno : EIO) : 0;
	if (r->out != stderr)
		fclose(r->out);
	r->out = NULL;
	if (error)
		log_error("--boot-report: %s cannot be written: %s", r->path, strerror(error));
	return -error;
}
