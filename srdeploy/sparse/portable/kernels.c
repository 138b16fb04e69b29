/* Which of the compiled kernels this processor runs. The flags they are compiled with are in
 * kernels.txt. */
#include "kernels.h"

#include <string.h>

#include "smsr.h"

#if defined(__x86_64__)
#include <cpuid.h>
#define KERNELS X(plain) X(avx2) X(avx512)
#elif defined(__aarch64__) || defined(__arm__)
#define KERNELS X(neon) /* which ncnn takes for granted on 32-bit ARM, too */
#else
#define KERNELS X(plain)
#endif

#define X(name) extern const kernel srdeploy_kernel_##name;
KERNELS
#undef X

static const kernel *const ALL[] = {
#define X(name) &srdeploy_kernel_##name,
    KERNELS
#undef X
};
#define COUNT (sizeof ALL / sizeof *ALL)

#if defined(__x86_64__)
/* Whether the processor has it and the system keeps its registers. */
static int runs_here(const char *name)
{
    uint32_t a, b, c, d, saved, high;
    if (!strcmp(name, "plain")) return 1;
    if (!__get_cpuid(1, &a, &b, &c, &d) || !(c >> 27 & 1) || !(c >> 12 & 1)) return 0; /* FMA */
    __asm__("xgetbv" : "=a"(saved), "=d"(high) : "c"(0));
    if ((saved & 6) != 6 || !__get_cpuid_count(7, 0, &a, &b, &c, &d)) return 0;
    if (!strcmp(name, "avx2")) return b >> 5 & 1;
    return (saved & 0xe0) == 0xe0 && (b >> 16 & 1);
}
#else
static int runs_here(const char *name) { return name != 0; }
#endif

const kernel *find_kernel(const char *name)
{
    for (size_t i = COUNT; i-- > 0;)
        if ((!name || !strcmp(ALL[i]->name, name)) && runs_here(ALL[i]->name)) return ALL[i];
    return 0;
}

const char *const *smsr_kernels(void)
{
    static const char *names[COUNT + 1];
    size_t count = 0;
    for (size_t i = 0; i < COUNT; i++)
        if (runs_here(ALL[i]->name)) names[count++] = ALL[i]->name;
    names[count] = 0;
    return names;
}
