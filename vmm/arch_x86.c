/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/arch_x86.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include <asm/kvm_para.h>

#include "base/range.h"

enum { CPUID_ENTRIES = 256 };

/* CPUID leaf 1 */
#define CPUID1_ECX_X2APIC	(1u << 21)
#define CPUID1_ECX_TSC_DEADLINE (1u << 24)
#define CPUID1_ECX_HYPERVISOR	(1u << 31)
#define CPUID1_ECX_VMX		(1u << 5)
#define CPUID1_EDX_HTT		(1u << 28)
/* leaf 6: the LAPIC timer runs in every C-state */
#define CPUID6_EAX_ARAT (1u << 2)
/* leaf 7: UMWAIT would need MSRs that we do not give */
#define CPUID7_ECX_WAITPKG (1u << 5)
/* leaf 0x80000001 */
#define CPUID8_1_ECX_CMP_LEGACY (1u << 1)
#define CPUID8_1_ECX_SVM	(1u << 2)
#define CPUID8_1_ECX_TOPOEXT	(1u << 22)

enum {
	MSR_TSC = 0x10,
	MSR_TSC_AUX = 0xc0000103,
	MSR_SYSENTER_CS = 0x174,
	MSR_SYSENTER_ESP = 0x175,
	MSR_SYSENTER_EIP = 0x176,
	MSR_MISC_ENABLE = 0x1a0,
	MSR_PAT = 0x277,
	MSR_MTRR_DEF_TYPE = 0x2ff,
	MSR_TSC_DEADLINE = 0x6e0,
	MSR_STAR = 0xc0000081,
	MSR_LSTAR = 0xc0000082,
	MSR_CSTAR = 0xc0000083,
	MSR_SYSCALL_MASK = 0xc0000084,
	MSR_KERNEL_GS_BASE = 0xc0000102,
	MSR_TSC_ADJUST = 0x3b,
	MSR_SPEC_CTRL = 0x48,
	MSR_MCG_STATUS = 0x17a,
	MSR_XFD = 0x1c4,
	MSR_DEBUGCTL = 0x1d9,
	MSR_XSS = 0xda0,
	MSR_VIRT_SPEC_CTRL = 0xc001011f,
};

/*
 * MSRs a guest changes, with their power-on values. A host may not have all: each is set on its
 * own and an unknown one is passed over. `first`: KVM's own power-on value differs from what we
 * want, so it is set before the first run too.
 */
static const struct {
	uint32_t index;
	bool first;
	uint64_t value;
} reset_msrs[] = {
	/* Paravirtual, disabled first. */
	{ MSR_KVM_ASYNC_PF_EN, false, 0 },
	{ MSR_KVM_ASYNC_PF_INT, false, 0 },
	{ MSR_KVM_STEAL_TIME, false, 0 },
	{ MSR_KVM_PV_EOI_EN, false, 0 },
	{ MSR_KVM_SYSTEM_TIME_NEW, false, 0 },
	{ MSR_KVM_SYSTEM_TIME, false, 0 },
	{ MSR_KVM_POLL_CONTROL, false, 1 },
	{ MSR_TSC_DEADLINE, false, 0 },
	{ MSR_SYSENTER_CS, false, 0 },
	{ MSR_SYSENTER_ESP, false, 0 },
	{ MSR_SYSENTER_EIP, false, 0 },
	{ MSR_STAR, false, 0 },
	{ MSR_LSTAR, false, 0 },
	{ MSR_CSTAR, false, 0 },
	{ MSR_SYSCALL_MASK, false, 0 },
	{ MSR_KERNEL_GS_BASE, false, 0 },
	{ MSR_TSC_AUX, false, 0 },
	{ MSR_PAT, false, 0x0007040600070406 },
	{ MSR_TSC, false, 0 },
	{ MSR_TSC_ADJUST, false, 0 },
	{ MSR_SPEC_CTRL, false, 0 },
	{ MSR_VIRT_SPEC_CTRL, false, 0 },
	{ MSR_MCG_STATUS, false, 0 },
	{ MSR_DEBUGCTL, false, 0 },
	{ MSR_XFD, false, 0 },
	{ MSR_XSS, false, 0 },
	/* Fast strings on. */
	{ MSR_MISC_ENABLE, true, 1 },
	/* MTRRs enabled, write-back everywhere: the PCI hole's BARs are RAM or trapped, never
	   uncached memory. */
	{ MSR_MTRR_DEF_TYPE, true, 0x806 },
};

static struct kvm_cpuid_entry2 *find_leaf(struct kvm_cpuid2 *c, uint32_t function, uint32_t index)
{
	for (unsigned i = 0; i < c->nent; i++)
		if (c->entries[i].function == function && c->entries[i].index == index)
			return &c->entries[i];
	return NULL;
}

/* The leaf, made new and zero when KVM did not report it; NULL when the table is full. */
static struct kvm_cpuid_entry2 *need_leaf(struct kvm_cpuid2 *c, uint32_t function, uint32_t index,
					  uint32_t flags)
{
	struct kvm_cpuid_entry2 *l = find_leaf(c, function, index);

	if (l || c->nent == CPUID_ENTRIES)
		return l;
	l = &c->entries[c->nent++];
	*l = (struct kvm_cpuid_entry2){ .function = function, .index = index, .flags = flags };
	return l;
}

/* What does not depend on the vCPU: timers that work without legacy hardware, nothing nested. */
static void cpuid_features(const struct kvm *k, struct kvm_cpuid2 *c, unsigned n_vcpus)
{
	int tsc_khz = ioctl(k->vm, KVM_GET_TSC_KHZ, 0);
	struct kvm_cpuid_entry2 *l;

	l = find_leaf(c, 1, 0);
	if (l) {
		l->ecx |= CPUID1_ECX_HYPERVISOR;
		l->ecx &= ~CPUID1_ECX_VMX;
		if (ioctl(k->fd, KVM_CHECK_EXTENSION, KVM_CAP_TSC_DEADLINE_TIMER) > 0)
			l->ecx |= CPUID1_ECX_TSC_DEADLINE;
		/* One CPU sends no IPIs, and its EOIs and timer are paravirtual: all that x2APIC
		 * brings is that Linux saves and restores the IOAPIC around it, 192 exits. */
		if (n_vcpus == 1)
			l->ecx &= ~CPUID1_ECX_X2APIC;
	}
	l = need_leaf(c, 6, 0, 0);
	if (l)
		l->eax |= CPUID6_EAX_ARAT;
	l = find_leaf(c, 7, 0);
	if (l)
		l->ecx &= ~CPUID7_ECX_WAITPKG;
	l = find_leaf(c, 0xa, 0);
	if (l)
		l->eax = l->ebx = l->ecx = l->edx = 0;
	l = find_leaf(c, 0x80000001, 0);
	if (l)
		l->ecx &= ~(CPUID8_1_ECX_SVM | CPUID8_1_ECX_TOPOEXT);
	/* Frequencies of TSC and LAPIC timer in kHz, so that no guest calibrates them. */
	l = find_leaf(c, KVM_CPUID_SIGNATURE, 0);
	if (l && tsc_khz > 0) {
		l->eax = 0x40000010;
		l = need_leaf(c, 0x40000010, 0, 0);
		if (l) {
			l->eax = (uint32_t)tsc_khz;
			l->ebx = 1000000;
		}
	}
}

/* One socket, one thread a core: leaf 4 and 0xb (Intel), 0x80000008 (AMD). */
static void cpuid_topology(struct kvm_cpuid2 *c, unsigned n_vcpus)
{
	struct kvm_cpuid_entry2 *l;
	unsigned shift = 0;

	while ((1u << shift) < n_vcpus)
		shift++;
	for (uint32_t i = 0; (l = find_leaf(c, 4, i)); i++) {
		unsigned level = l->eax >> 5 & 7;

		/* cores - 1 in the package; the threads that share caches: the last level is the
		 * package's. */
		l->eax &= 0x3ff;
		l->eax |= (n_vcpus - 1) << 26;
		if (level >= 3)
			l->eax |= (n_vcpus - 1) << 14;
	}
	l = need_leaf(c, 0xb, 0, KVM_CPUID_FLAG_SIGNIFCANT_INDEX);
	if (l)
		*l = (struct kvm_cpuid_entry2){ .function = 0xb,
						.index = 0,
						.flags = l->flags,
						.eax = 0,
						.ebx = 1,
						.ecx = 0x100 };
	l = need_leaf(c, 0xb, 1, KVM_CPUID_FLAG_SIGNIFCANT_INDEX);
	if (l)
		*l = (struct kvm_cpuid_entry2){ .function = 0xb,
						.index = 1,
						.flags = l->flags,
						.eax = shift,
						.ebx = n_vcpus,
						.ecx = 0x201 };
	/* Leaf 0x1f repeats 0xb where it exists; without it Linux takes 0xb. */
	for (unsigned i = 0; i < c->nent; i++)
		if (c->entries[i].function == 0x1f)
			c->entries[i].ebx = 0;
	l = find_leaf(c, 0x80000008, 0);
	if (l)
		l->ecx = (l->ecx & ~0xf0ffu) | shift << 12 | (n_vcpus - 1);
	l = find_leaf(c, 1, 0);
	if (l) {
		l->ebx &= 0x0000ffff;
		l->ebx |= (1u << shift) << 16;
		l->edx &= ~CPUID1_EDX_HTT;
		if (n_vcpus > 1)
			l->edx |= CPUID1_EDX_HTT;
	}
	l = find_leaf(c, 0x80000001, 0);
	if (l && n_vcpus > 1)
		l->ecx |= CPUID8_1_ECX_CMP_LEGACY;
}

unsigned arch_phys_bits(const struct kvm_cpuid2 *c)
{
	for (unsigned i = 0; i < c->nent; i++)
		if (c->entries[i].function == 0x80000008)
			return c->entries[i].eax & 0xff;
	return 36;
}

int arch_cpuid_new(const struct kvm *k, unsigned n_vcpus, struct kvm_cpuid2 **ret, struct err *e)
{
	struct kvm_cpuid2 *c = calloc(1, sizeof(*c) + CPUID_ENTRIES * sizeof(c->entries[0]));

	if (!c)
		return err_set(e, -ENOMEM, "CPUID: out of memory");
	c->nent = CPUID_ENTRIES;
	if (ioctl(k->fd, KVM_GET_SUPPORTED_CPUID, c)) {
		free(c);
		return err_sys(e, "KVM does not say which CPUID it supports");
	}
	cpuid_features(k, c, n_vcpus);
	cpuid_topology(c, n_vcpus);
	*ret = c;
	return 0;
}

int arch_vcpu_init(int vcpu, unsigned index, struct kvm_cpuid2 *cpuid, struct err *e)
{
	for (unsigned i = 0; i < cpuid->nent; i++) {
		struct kvm_cpuid_entry2 *l = &cpuid->entries[i];

		if (l->function == 1)
			l->ebx = (l->ebx & 0x00ffffff) | index << 24;
		if (l->function == 0xb || l->function == 0x1f)
			l->edx = index;
	}
	/* Before any MSR is touched: some exist by CPUID only. */
	if (ioctl(vcpu, KVM_SET_CPUID2, cpuid))
		return err_sys(e, "vCPU %u: KVM does not take its CPUID", index);
	return 0;
}

static void set_msr(int vcpu, uint32_t index, uint64_t value)
{
	union {
		struct kvm_msrs head;
		uint8_t room[sizeof(struct kvm_msrs) + sizeof(struct kvm_msr_entry)];
	} msr = { .room = { 0 } };

	msr.head.nmsrs = 1;
	msr.head.entries[0] = (struct kvm_msr_entry){ .index = index, .data = value };
	/* A host without this MSR has nothing to reset. */
	ioctl(vcpu, KVM_SET_MSRS, &msr);
}

/* LINT0 takes the PIC's interrupts and LINT1 is NMI, as firmware leaves them (MP
 * specification, 3.6.2.2). */
static int reset_lapic(int vcpu, unsigned index, bool again, struct err *e)
{
	struct kvm_lapic_state s;
	uint32_t *lvt0 = (uint32_t *)(void *)(s.regs + 0x350),
		 *lvt1 = (uint32_t *)(void *)(s.regs + 0x360);

	if (ioctl(vcpu, KVM_GET_LAPIC, &s))
		return err_sys(e, "vCPU %u: LAPIC", index);
	if (again) {
		static const uint16_t masked[] = { 0x2f0, 0x320, 0x330, 0x340, 0x370 };
		uint32_t id = index << 24, version;

		memcpy(&version, s.regs + 0x30, sizeof(version));
		memset(&s, 0, sizeof(s));
		memcpy(s.regs + 0x20, &id, sizeof(id));
		memcpy(s.regs + 0x30, &version, sizeof(version));
		memset(s.regs + 0xe0, 0xff, 4);		       /* DFR */
		memcpy(s.regs + 0xf0, &(uint32_t){ 0xff }, 4); /* SVR: disabled, vector 255 */
		for (size_t i = 0; i < ARRAY_SIZE(masked); i++)
			memcpy(s.regs + masked[i], &(uint32_t){ 0x10000 }, 4);
	}
	*lvt0 = index == 0 ? 0x700 : 0x10000;
	*lvt1 = 0x400;
	if (ioctl(vcpu, KVM_SET_LAPIC, &s))
		return err_sys(e, "vCPU %u: LAPIC", index);
	return 0;
}

/* What KVM gives a fresh vCPU anyway, for one that ran. */
static int reset_rest(int vcpu, unsigned index, struct err *e)
{
	struct kvm_xsave xsave = { .region = { [0] = 0x37f, [6] = 0x1f80 } };
	struct kvm_xcrs xcrs = { .nr_xcrs = 1, .xcrs = { { .xcr = 0, .value = 1 } } };
	struct kvm_vcpu_events events = { .flags = KVM_VCPUEVENT_VALID_NMI_PENDING |
						   KVM_VCPUEVENT_VALID_SHADOW };
	struct kvm_debugregs debug = { .dr6 = 0xffff0ff0, .dr7 = 0x400 };
	struct kvm_mp_state mp = { .mp_state = index == 0 ? KVM_MP_STATE_RUNNABLE
							  : KVM_MP_STATE_UNINITIALIZED };

	if (ioctl(vcpu, KVM_SET_VCPU_EVENTS, &events) || ioctl(vcpu, KVM_SET_DEBUGREGS, &debug))
		return err_sys(e, "vCPU %u: events", index);
	/* Hosts without XSAVE have the legacy area only. */
	if (ioctl(vcpu, KVM_SET_XSAVE, &xsave) || ioctl(vcpu, KVM_SET_XCRS, &xcrs)) {
		struct kvm_fpu fpu = { .fcw = 0x37f, .mxcsr = 0x1f80 };

		if (ioctl(vcpu, KVM_SET_FPU, &fpu))
			return err_sys(e, "vCPU %u: FPU", index);
	}
	if (ioctl(vcpu, KVM_SET_MP_STATE, &mp))
		return err_sys(e, "vCPU %u: MP state", index);
	return 0;
}

static struct kvm_segment segment(const struct boot_segment *b)
{
	return (struct kvm_segment){
		.base = b->base,
		.limit = b->limit,
		.selector = b->selector,
		.type = b->type,
		.present = 1,
		.s = b->s,
		.l = b->l,
		.db = b->db,
		.g = b->g,
	};
}

/* The boot protocol's entry. */
static int set_boot_regs(int vcpu, const struct boot_regs *b, struct err *e)
{
	struct kvm_regs regs = {
		.rip = b->rip, .rsp = b->rsp, .rflags = b->rflags | 2, .rsi = b->rsi, .rbx = b->rbx
	};
	struct kvm_sregs s;

	if (ioctl(vcpu, KVM_GET_SREGS, &s))
		return err_sys(e, "vCPU 0: registers");
	s.cs = segment(&b->code);
	s.ds = s.es = s.fs = s.gs = s.ss = segment(&b->data);
	s.tr = segment(&b->tss);
	s.ldt = (struct kvm_segment){ .type = 2, .unusable = 1 };
	s.gdt = (struct kvm_dtable){ .base = b->gdt_base, .limit = b->gdt_limit };
	s.idt = (struct kvm_dtable){ .base = 0, .limit = 0 };
	s.cr0 = b->cr0;
	s.cr2 = 0;
	s.cr3 = b->cr3;
	s.cr4 = b->cr4;
	s.cr8 = 0;
	s.efer = b->efer;
	memset(s.interrupt_bitmap, 0, sizeof(s.interrupt_bitmap));
	if (ioctl(vcpu, KVM_SET_SREGS, &s) || ioctl(vcpu, KVM_SET_REGS, &regs))
		return err_sys(e, "vCPU 0: KVM does not take the boot registers");
	return 0;
}

/* Real mode at the reset vector, as INIT leaves it: what KVM's own vCPU has at power on. */
static int set_init_regs(int vcpu, unsigned index, struct err *e)
{
	struct kvm_segment data = { .limit = 0xffff, .type = 3, .present = 1, .s = 1 };
	struct kvm_regs regs = { .rip = 0xfff0, .rflags = 2 };
	struct kvm_sregs s;

	if (ioctl(vcpu, KVM_GET_SREGS, &s))
		return err_sys(e, "vCPU %u: registers", index);
	s.cs = (struct kvm_segment){ .base = 0xffff0000,
				     .limit = 0xffff,
				     .selector = 0xf000,
				     .type = 11,
				     .present = 1,
				     .s = 1 };
	s.ds = s.es = s.fs = s.gs = s.ss = data;
	s.tr = (struct kvm_segment){ .limit = 0xffff, .type = 11, .present = 1 };
	s.ldt = (struct kvm_segment){ .limit = 0xffff, .type = 2, .present = 1 };
	s.gdt = s.idt = (struct kvm_dtable){ .limit = 0xffff };
	s.cr0 = 0x60000010;
	s.cr2 = s.cr3 = s.cr4 = s.cr8 = s.efer = 0;
	memset(s.interrupt_bitmap, 0, sizeof(s.interrupt_bitmap));
	if (ioctl(vcpu, KVM_SET_SREGS, &s) || ioctl(vcpu, KVM_SET_REGS, &regs))
		return err_sys(e, "vCPU %u: KVM does not take the reset registers", index);
	return 0;
}

/* The APIC base with x2APIC off: a LAPIC state is in xAPIC's format only then. */
static int reset_apic_base(int vcpu, unsigned index, struct err *e)
{
	struct kvm_sregs s;

	if (ioctl(vcpu, KVM_GET_SREGS, &s))
		return err_sys(e, "vCPU %u: registers", index);
	s.apic_base = 0xfee00800 | (index == 0 ? 0x100 : 0);
	if (ioctl(vcpu, KVM_SET_SREGS, &s))
		return err_sys(e, "vCPU %u: LAPIC base", index);
	return 0;
}

int arch_vcpu_reset(int vcpu, unsigned index, const struct boot_regs *regs, bool again,
		    struct err *e)
{
	int r = 0;

	for (size_t i = 0; i < ARRAY_SIZE(reset_msrs); i++)
		if (again || reset_msrs[i].first)
			set_msr(vcpu, reset_msrs[i].index, reset_msrs[i].value);
	if (again)
		r = reset_rest(vcpu, index, e);
	if (again && r == 0)
		r = set_init_regs(vcpu, index, e);
	if (again && r == 0)
		r = reset_apic_base(vcpu, index, e);
	if (r == 0 && (again || index == 0))
		r = reset_lapic(vcpu, index, again, e);
	if (r == 0 && index == 0)
		r = set_boot_regs(vcpu, regs, e);
	return r;
}

static void dump_segment(FILE *out, const char *name, const struct kvm_segment *s)
{
	fprintf(out, "%s %04x base %016llx limit %08x type %x dpl %u %s\n", name, s->selector,
		(unsigned long long)s->base, s->limit, s->type, s->dpl,
		s->l	? "64"
		: s->db ? "32"
			: "16");
}

void arch_vcpu_dump(int vcpu, unsigned index, FILE *out)
{
	struct kvm_regs r;
	struct kvm_sregs s;

	if (ioctl(vcpu, KVM_GET_REGS, &r) || ioctl(vcpu, KVM_GET_SREGS, &s)) {
		fprintf(out, "vCPU %u: registers cannot be read\n", index);
		return;
	}
	fprintf(out, "--- vCPU %u ---\n", index);
	/* kvm_amd: what the processor leaves of a vCPU that shut down is undefined: it is reset. */
	if (r.rip == 0xfff0 && s.cs.base == 0xffff0000)
		fputs("KVM has reset it, as on AMD processors after a triple fault: "
		      "what it did is lost\n", out);
	fprintf(out, "rip %016llx flg %016llx rsp %016llx rbp %016llx\n", r.rip, r.rflags, r.rsp,
		r.rbp);
	fprintf(out, "rax %016llx rbx %016llx rcx %016llx rdx %016llx\n", r.rax, r.rbx, r.rcx,
		r.rdx);
	fprintf(out, "rsi %016llx rdi %016llx r8  %016llx r9  %016llx\n", r.rsi, r.rdi, r.r8, r.r9);
	fprintf(out, "r10 %016llx r11 %016llx r12 %016llx r13 %016llx\n", r.r10, r.r11, r.r12,
		r.r13);
	fprintf(out, "r14 %016llx r15 %016llx\n", r.r14, r.r15);
	fprintf(out, "cr0 %016llx cr2 %016llx cr3 %016llx cr4 %016llx efer %llx\n", s.cr0, s.cr2,
		s.cr3, s.cr4, s.efer);
	dump_segment(out, "cs", &s.cs);
	dump_segment(out, "ss", &s.ss);
	dump_segment(out, "ds", &s.ds);
	dump_segment(out, "tr", &s.tr);
	fprintf(out, "gdt %016llx/%x idt %016llx/%x\n--- end ---\n", s.gdt.base, s.gdt.limit,
		s.idt.base, s.idt.limit);
	fflush(out);
}
