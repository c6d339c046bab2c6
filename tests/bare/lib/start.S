/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What C cannot say: the entry, the interrupt stubs, and how an application processor comes from
 * real mode to where the boot processor began.
 */
#include "tests/bare/lib/smp_layout.h"

	.section .text
	.code64

/* The 64-bit Linux entry: long mode, 4 GiB identity, rsi = zero page, interrupts off. */
	.globl start
start:
	lea	boot_stack_top(%rip), %rsp
	xor	%ebp, %ebp
	mov	%rsi, %rdi
	call	test_main
1:	hlt
	jmp	1b

/* One stub a vector, 16 bytes each: every frame looks the same, with an error code or a zero. */
	.globl irq_stubs
	.balign	16
irq_stubs:
	.set	vector, 0
	.rept	256
	.balign	16
	.if	vector != 8 && (vector < 10 || vector > 14) && vector != 17 && vector != 21
	push	$0
	.endif
	push	$vector
	jmp	stub_common
	.set	vector, vector + 1
	.endr

/* The order of what is pushed is struct irq_frame's. */
stub_common:
	push	%rax
	push	%rcx
	push	%rdx
	push	%rsi
	push	%rdi
	push	%r8
	push	%r9
	push	%r10
	push	%r11
	cld
	mov	%rsp, %rdi
	call	irq_dispatch
	pop	%r11
	pop	%r10
	pop	%r9
	pop	%r8
	pop	%rdi
	pop	%rsi
	pop	%rdx
	pop	%rcx
	pop	%rax
	add	$16, %rsp
	iretq

/* Copied to SMP_TRAMPOLINE; runs there in real mode with CS = SMP_TRAMPOLINE >> 4. */
	.globl smp_trampoline, smp_trampoline_end, smp_trampoline_cr3
	.code16
smp_trampoline:
	cli
	movw	$SMP_TRAMPOLINE >> 4, %ax
	movw	%ax, %ds
	lgdtl	smp_gdtr - smp_trampoline
	movl	$0x20, %eax			/* CR4.PAE */
	movl	%eax, %cr4
	movl	smp_trampoline_cr3 - smp_trampoline, %eax
	movl	%eax, %cr3
	movl	$0xc0000080, %ecx		/* EFER.LME */
	rdmsr
	orl	$0x100, %eax
	wrmsr
	movl	$0x80000011, %eax		/* CR0: PG, ET, PE */
	movl	%eax, %cr0
	ljmpl	$0x10, $smp_long
	.balign	8
smp_gdtr:
	.word	SMP_GDT_SIZE - 1
	.long	SMP_GDT
smp_trampoline_cr3:
	.long	0
smp_trampoline_end:

	.code64
smp_long:
	mov	$0x18, %eax
	mov	%eax, %ds
	mov	%eax, %es
	mov	%eax, %ss
	/* The local APIC's id chooses the stack: the boot processor is 0 and has its own. */
	mov	$0xfee00020, %eax
	mov	(%rax), %edi
	shr	$24, %edi
	imul	$SMP_STACK_SIZE, %rdi, %rax
	lea	smp_stacks(%rax), %rsp
	xor	%ebp, %ebp
	call	smp_main
1:	cli
	hlt
	jmp	1b

	.section .bss
	.balign	16
	.skip	16384
boot_stack_top:
	.globl smp_stacks
	.balign	16
smp_stacks:
	.skip	SMP_CPUS_MAX * SMP_STACK_SIZE
	.section .note.GNU-stack, "", @progbits
