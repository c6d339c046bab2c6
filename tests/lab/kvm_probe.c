// SPDX-License-Identifier: Apache-2.0
/*
 * Measures whether /dev/kvm runs guest kernel code on the processor or interprets it.
 *
 * A vCPU in flat 32-bit protected mode, ring 0, counts a register down and writes a port; then the
 * probe itself runs the same loop. A processor takes the same time for both, an emulated host with
 * real kvm_amd a few times as long for the guest's, a KVM that interprets guest kernel code a
 * thousand times. The line is drawn at 100, and the best of a few rounds counts on each side, so
 * that a busy machine pushes neither over it.
 *
 * Exit code 0: real. 1: not, with one sentence on stdout saying why.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define ITERATIONS 20000u
#define ROUNDS	   8
#define LIMIT	   100.0
#define CODE_GPA   0x1000u

static int no(const char *what)
{
	printf("no usable KVM: %s: %s\n", what, strerror(errno));
	return 1;
}

#if defined(__x86_64__)
static const uint8_t code[] = {
	0xb9,
	ITERATIONS & 0xff,
	ITERATIONS >> 8 & 0xff,
	ITERATIONS >> 16,
	0,    /* mov ecx, ITERATIONS */
	0x49, /* 1: dec ecx */
	0x75,
	0xfd, /* jnz 1b */
	0xe6,
	0xf4, /* out 0xf4, al */
	0xeb,
	0xf4, /* jmp start */
};

static double now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec * 1e9 + (double)ts.tv_nsec;
}

static int enter_protected_mode(int vcpu)
{
	struct kvm_segment flat = { .limit = 0xffffffff, .present = 1, .db = 1, .s = 1, .g = 1 };
	struct kvm_regs regs = { .rip = CODE_GPA, .rflags = 2 };
	struct kvm_sregs sregs;

	if (ioctl(vcpu, KVM_GET_SREGS, &sregs) < 0)
		return -1;
	flat.selector = 8;
	flat.type = 11; /* code: execute, read, accessed */
	sregs.cs = flat;
	flat.selector = 16;
	flat.type = 3; /* data: read, write, accessed */
	sregs.ds = sregs.es = sregs.fs = sregs.gs = sregs.ss = flat;
	sregs.cr0 |= 1;
	if (ioctl(vcpu, KVM_SET_SREGS, &sregs) < 0)
		return -1;
	return ioctl(vcpu, KVM_SET_REGS, &regs);
}

/* The loop as the guest runs it, without the guest: nanoseconds an iteration, the best of all
 * rounds. */
static double measure_native(void)
{
	double best = 1e9;

	for (int i = 0; i < ROUNDS; i++) {
		uint32_t n = ITERATIONS;
		double start = now_ns(), each;

		__asm__ volatile("1: dec %0\n\tjnz 1b" : "+r"(n) : : "cc");
		each = (now_ns() - start) / ITERATIONS;
		if (each < best)
			best = each;
	}
	return best;
}

/* The same in the guest; it ends early once it is within the limit. Below 0: the guest did not run.
 */
static double measure_guest(int vcpu, const struct kvm_run *run, double native)
{
	double best = -1;

	for (int i = 0; i < ROUNDS; i++) {
		double start = now_ns(), each;

		do {
			if (ioctl(vcpu, KVM_RUN, 0) < 0 && errno != EINTR)
				return -1;
		} while (run->exit_reason == KVM_EXIT_INTR);
		if (run->exit_reason != KVM_EXIT_IO) {
			errno = ENOEXEC;
			return -1;
		}
		each = (now_ns() - start) / ITERATIONS;
		if (best < 0 || each < best)
			best = each;
		if (best < LIMIT * native)
			break;
	}
	return best;
}

int main(void)
{
	struct kvm_userspace_memory_region slot = { .memory_size = 0x2000 };
	struct kvm_run *run;
	int kvm, vm, vcpu, size;
	uint8_t *ram;
	double native, guest;

	kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (kvm < 0) {
		if (errno == ENOENT || errno == ENODEV || errno == ENXIO)
			printf("no usable KVM: there is no /dev/kvm on this machine\n");
		else if (errno == EACCES || errno == EPERM)
			printf("no usable KVM: no permission to open /dev/kvm (group kvm, or "
			       "root)\n");
		else
			return no("cannot open /dev/kvm");
		return 1;
	}
	if (ioctl(kvm, KVM_GET_API_VERSION, 0) != KVM_API_VERSION) {
		printf("no usable KVM: /dev/kvm does not speak API version %d\n", KVM_API_VERSION);
		return 1;
	}
	vm = ioctl(kvm, KVM_CREATE_VM, 0);
	if (vm < 0)
		return no("cannot create a VM");
	ram = mmap(NULL, slot.memory_size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		   0);
	if (ram == MAP_FAILED)
		return no("cannot map guest memory");
	memcpy(ram + CODE_GPA, code, sizeof(code));
	slot.userspace_addr = (uintptr_t)ram;
	if (ioctl(vm, KVM_SET_USER_MEMORY_REGION, &slot) < 0)
		return no("cannot give a VM memory");
	vcpu = ioctl(vm, KVM_CREATE_VCPU, 0);
	if (vcpu < 0)
		return no("cannot create a vCPU");
	size = ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
	run = size < 0 ? MAP_FAILED
		       : mmap(NULL, (size_t)size, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu, 0);
	if (run == MAP_FAILED)
		return no("cannot map a vCPU");
	if (enter_protected_mode(vcpu) < 0)
		return no("cannot set a vCPU's registers");

	native = measure_native();
	guest = measure_guest(vcpu, run, native);
	if (guest < 0)
		return no("a vCPU does not run a simple loop");
	if (guest >= LIMIT * native) {
		printf("/dev/kvm is not a real KVM: guest kernel code is interpreted "
		       "(%.0f ns for a loop that takes this machine %.1f)\n",
		       guest, native);
		return 1;
	}
	return 0;
}
#else
int main(void)
{
	errno = ENOSYS;
	return no("this machine's architecture has no probe");
}
#endif
