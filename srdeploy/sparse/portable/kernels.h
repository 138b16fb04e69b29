/* kernel.c as it was compiled for several processors, one of which is here. */
#ifndef SRDEPLOY_KERNELS_H
#define SRDEPLOY_KERNELS_H
#include "../kernel.h"

/* The kernel of that name, or the quickest; NULL: unknown, or not for this processor. */
const kernel *find_kernel(const char *name);

#endif
