/* Put in front of each C file of ring by cross.sh.

   ring multiplies on the curve P-256 in one of two ways: on x86-64 and ARM64 by assembly with a table of
   150 kB, on every other processor by C code from Fiat, which is proven and has a table of a few kB.
   A program that shakes hands a few times a day needs no table, so that it takes the second way on all of
   them. ring decides in p256_shared.h, by OPENSSL_SMALL, which it sets itself where it has no assembly; for
   its other files nothing changes. The one function that only the first way has, which is faster for
   numbers that are no secret, is here by the one for secrets: it gives the same result. */

#if !defined(__ASSEMBLER__) && __has_include(<ring-core/base.h>)
#include <ring-core/base.h>
#if defined(OPENSSL_X86_64) || defined(OPENSSL_AARCH64)

#define OPENSSL_SMALL
#include <ring-core/../../crypto/fipsmodule/ec/p256_shared.h>
#undef OPENSSL_SMALL

void p256_point_mul_base(BN_ULONG r[3][P256_LIMBS], const BN_ULONG scalar[P256_LIMBS]);
void p256_point_mul_base_vartime(BN_ULONG r[3][P256_LIMBS], const BN_ULONG scalar[P256_LIMBS]);

__attribute__((weak)) void p256_point_mul_base_vartime(BN_ULONG r[3][P256_LIMBS],
                                                       const BN_ULONG scalar[P256_LIMBS]) {
    p256_point_mul_base(r, scalar);
}

#endif
#endif
