/* SPDX-License-Identifier: Apache-2.0 */
/*
 * x86-64: what a vCPU is told at power on and at every reset. Loop thread or set-up; never while
 * the vCPU runs.
 */
#ifndef VMM_ARCH_X86_H
#define VMM_ARCH_X86_H

#include <stdint.h>
#include <stdio.h>

#include "base/err.h"
#include "vmm/boot.h"
#include "vmm/kvm.h"

enum { ARCH_VCPUS_MAX = 64 };

/* The CPUID table all vCPUs of this VM share but for their ids. The caller frees it with free(). */
int arch_cpuid_new(const struct kvm *k, unsigned n_vcpus, struct kvm_cpuid2 **ret, struct err *e);

/* Bits of a guest-physical address that this CPUID promises. */
unsigned arch_phys_bits(const struct kvm_cpuid2 *c);

/* Once a vCPU, when it was created: its CPUID; sets @cpuid's ids to @index. 0 or -errno with @e. */
int arch_vcpu_init(int vcpu, unsigned index, struct kvm_cpuid2 *cpuid, struct err *e);
/*
 * Power-on state, then the boot protocol's registers on vCPU 0; the others wait for INIT-SIPI.
 * @again: the vCPU ran before, so everything a guest may have changed is set back, the paravirtual
 * MSRs first (KVM would go on writing into RAM through them).
 */
int arch_vcpu_reset(int vcpu, unsigned index, const struct boot_regs *regs, bool again,
		    struct err *e);

/* The vCPU's registers as one block of text, for a crash. */
void arch_vcpu_dump(int vcpu, unsigned index, FILE *out);

#endif
