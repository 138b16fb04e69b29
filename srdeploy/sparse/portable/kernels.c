/* Which of the compiled kernels this processor runs. The flags they are compiled with are in
 * kernels.txt. */
#include "kernels.h"

#include <string.h>

#include "smsr.h"

#if defined(__x86_64__)
#include <cpuid.h>
#define KERNELS X(plain) X(avx2) X(avx512) X(vnni) X(bf16) X(amx)
#elif defined(__aarch64__)
#define KERNELS X(neon) X(dotprod) X(i8mm) X(bf16)
#elif defined(__arm__)
#define KERNELS X(neon) /* which ncnn takes for granted on 32-bit ARM, too */
#else
#define KERNELS X(plain)
#endif

#ifdef __linux__
#include <sys/syscall.h>
#include <unistd.h>
#ifdef __aarch64__
#include <sys/auxv.h>
#endif
#endif

/* A compiler that does not know a processor's flags leaves its kernel out. */
#define X(name) extern const kernel srdeploy_kernel_##name __attribute__((weak));
KERNELS
#undef X

static const kernel *const ALL[] = {
#define X(name) &srdeploy_kernel_##name,
    KERNELS
#undef X
};
#define COUNT (sizeof ALL / sizeof *ALL)

#if defined(__x86_64__)
/* Linux gives a process AMX's registers when it asks for them. */
static int may_use_tiles(void)
{
#ifdef SYS_arch_prctl
    return syscall(SYS_arch_prctl, 0x1023, 18) == 0;
#else
    return 0;
#endif
}

/* Whether the processor has it and the system keeps its registers. */
static int runs_here(const char *name)
{
    uint32_t a, b, c, d, more, saved, high;
    if (!strcmp(name, "plain")) return 1;
    if (!__get_cpuid(1, &a, &b, &c, &d) || !(c >> 27 & 1) || !(c >> 12 & 1)) return 0; /* FMA */
    __asm__("xgetbv" : "=a"(saved), "=d"(high) : "c"(0));
    if ((saved & 6) != 6 || !__get_cpuid_count(7, 0, &a, &b, &c, &d)) return 0;
    if (!strcmp(name, "avx2")) return b >> 5 & 1;
    const uint32_t wide = 1u << 16 | 1u << 17 | 1u << 30 | 1u << 31; /* F, DQ, BW, VL */
    if ((saved & 0xe0) != 0xe0 || (b & wide) != wide) return 0;
    if (!strcmp(name, "avx512")) return 1;
    if (!(c >> 11 & 1)) return 0;
    if (!strcmp(name, "vnni")) return 1;
    if (!__get_cpuid_count(7, 1, &more, &b, &c, &a) || !(more >> 5 & 1)) return 0;
    if (!strcmp(name, "bf16")) return 1;
    const uint32_t tiles = 1u << 22 | 1u << 24 | 1u << 25; /* of bf16, at all, of bytes */
    return (d & tiles) == tiles && (saved & 0x60000) == 0x60000 && may_use_tiles();
}
#elif defined(__aarch64__)
static int runs_here(const char *name)
{
    unsigned long has = 0, more = 0;
#ifdef __linux__
    has = getauxval(AT_HWCAP);
    more = getauxval(AT_HWCAP2);
#endif
    if (!strcmp(name, "neon")) return 1;
    const int dots = (has >> 20 & 1) && (has >> 10 & 1); /* ASIMDDP, ASIMDHP */
    if (!dots || !strcmp(name, "dotprod")) return dots;
    const unsigned long wanted = !strcmp(name, "i8mm") ? 1 << 13 : 3 << 13; /* I8MM, BF16 */
    return (more & wanted) == wanted;
}
#else
static int runs_here(const char *name) { return name != 0; }
#endif

const kernel *find_kernel(const char *name)
{
    const char *const *names = smsr_kernels();
    const kernel *found = 0;
    for (size_t n = 0; names[n]; n++)
        for (size_t i = 0; i < COUNT; i++)
            if (ALL[i] && ALL[i]->name == names[n] && (!name || !strcmp(name, names[n])))
                found = ALL[i];
    return found;
}

const char *const *smsr_kernels(void)
{
    static const char *names[COUNT + 1];
    size_t count = 0;
    for (size_t i = 0; i < COUNT; i++)
        if (ALL[i] && runs_here(ALL[i]->name)) names[count++] = ALL[i]->name;
    names[count] = 0;
    return names;
}
