/* SPDX-License-Identifier: Apache-2.0 */
#include "sha256.h"

#include "sys.h"
#include "text.h"

/* FIPS 180-4, 4.2.2: fractions of the cube roots of the first 64 primes */
static const uint32_t round_constant[64] = {
	0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4,
	0xab1c5ed5, 0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe,
	0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f,
	0x4a7484aa, 0x5cb0a9dc, 0x76f988da, 0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7,
	0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967, 0x27b70a85, 0x2e1b2138, 0x4d2c6dfc,
	0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85, 0xa2bfe8a1, 0xa81a664b,
	0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070, 0x19a4c116,
	0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
	0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7,
	0xc67178f2,
};

static inline uint32_t ror(uint32_t x, unsigned n)
{
	return x >> n | x << (32 - n);
}

static void add_block(uint32_t *state, const uint8_t *p)
{
	uint32_t w[64], s[8];

	for (int i = 0; i < 16; i++, p += 4)
		w[i] = (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
	for (int i = 16; i < 64; i++) {
		uint32_t a = w[i - 15], b = w[i - 2];

		w[i] = w[i - 16] + (ror(a, 7) ^ ror(a, 18) ^ a >> 3) + w[i - 7] +
		       (ror(b, 17) ^ ror(b, 19) ^ b >> 10);
	}

	for (int i = 0; i < 8; i++)
		s[i] = state[i];
		/* instead of moving the eight words down each round, the names move */
#define S(n) s[((n)-i) & 7]
	for (int i = 0; i < 64; i++) {
		uint32_t a = S(0), e = S(4);
		uint32_t t = S(7) + (ror(e, 6) ^ ror(e, 11) ^ ror(e, 25)) +
			     ((e & S(5)) ^ (~e & S(6))) + round_constant[i] + w[i];

		S(3) += t;
		S(7) = t + (ror(a, 2) ^ ror(a, 13) ^ ror(a, 22)) +
		       ((a & S(1)) ^ (a & S(2)) ^ (S(1) & S(2)));
	}
#undef S
	for (int i = 0; i < 8; i++)
		state[i] += s[i];
}

void sha256_init(struct sha256 *h)
{
	*h = (struct sha256){ .state = { 0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f,
					 0x9b05688c, 0x1f83d9ab, 0x5be0cd19 } };
}

void sha256_add(struct sha256 *h, const void *data, size_t len)
{
	const uint8_t *p = data;

	while (len) {
		size_t used = h->bytes % 64, n = 64 - used;

		if (!used && len >= 64) {
			add_block(h->state, p);
			n = 64;
		} else {
			if (n > len)
				n = len;
			memcpy(h->block + used, p, n);
			if (used + n == 64)
				add_block(h->state, h->block);
		}
		h->bytes += n;
		p += n;
		len -= n;
	}
}

void sha256_hex(struct sha256 *h, char *hex)
{
	static const uint8_t padding[64] = { 0x80 };
	uint64_t bits = h->bytes * 8;
	uint8_t out[32];

	sha256_add(h, padding, 1 + (119 - h->bytes % 64) % 64);
	for (int i = 0; i < 8; i++)
		out[i] = (uint8_t)(bits >> (56 - 8 * i));
	sha256_add(h, out, 8);
	for (int i = 0; i < 32; i++)
		out[i] = (uint8_t)(h->state[i / 4] >> (24 - i % 4 * 8));
	text_hex(hex, out, 32);
}
