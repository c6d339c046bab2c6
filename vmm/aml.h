/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An encoder for the little of ACPI Machine Language that our DSDT needs (ACPI 6.5, chapter 20), on
 * a byte cursor: overflow is the cursor's. Blocks nest by marks:
 *
 *	size_t dev = aml_device(c, "PCI0");
 *	aml_name(c, "_UID");
 *	aml_integer(c, 0);
 *	aml_end(c, dev);
 */
#ifndef VMM_AML_H
#define VMM_AML_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cursor.h"

/* Scope (\NAME), Device, Package of @count elements: open a block; content follows. Names have 4
 * characters. */
size_t aml_scope(struct cursor *c, const char *name);
size_t aml_device(struct cursor *c, const char *name);
size_t aml_package(struct cursor *c, uint8_t count);
/* Closes the block, whose length is known now. */
void aml_end(struct cursor *c, size_t mark);

/* Name (NAME, value): the value follows. */
void aml_name(struct cursor *c, const char *name);
/* In the shortest encoding. */
void aml_integer(struct cursor *c, uint64_t v);
/* A string, with the zero at its end. */
void aml_string(struct cursor *c, const char *s);
/* Name (_HID or _CID, EisaId ("PNP0A08")). */
void aml_eisa_id(struct cursor *c, const char *name, const char *id);

/* Name (_CRS, ResourceTemplate () { ... }): opens the buffer; descriptors follow (6.4). */
size_t aml_crs(struct cursor *c);
/* Adds the end tag and closes it. */
void aml_crs_end(struct cursor *c, size_t mark);
/* IO (Decode16, port, port, 1, len) */
void aml_io(struct cursor *c, uint16_t port, uint8_t len);
/* Memory32Fixed (ReadWrite, base, len) */
void aml_memory32_fixed(struct cursor *c, uint32_t base, uint32_t len);
/* Interrupt (ResourceConsumer, Edge, ActiveHigh, Exclusive or Shared) { gsi } */
void aml_interrupt(struct cursor *c, uint32_t gsi, bool shared);
/* WordBusNumber (ResourceProducer, MinFixed, MaxFixed, PosDecode) of [first, last] */
void aml_bus_range(struct cursor *c, uint16_t first, uint16_t last);
/* DWordMemory and QWordMemory (ResourceProducer, NonCacheable, ReadWrite) of [base, base + len) */
void aml_window32(struct cursor *c, uint32_t base, uint32_t len);
void aml_window64(struct cursor *c, uint64_t base, uint64_t len);

#endif
