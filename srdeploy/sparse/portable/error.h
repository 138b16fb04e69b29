/* Saying what went wrong. */
#ifndef SRDEPLOY_ERROR_H
#define SRDEPLOY_ERROR_H
#include <stdarg.h>
#include <stdio.h>

#include "smsr.h"

/* Write the sentence, of printf's kind; returns -1. */
__attribute__((format(printf, 2, 3))) static inline int refuse(smsr_error *error,
                                                              const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(error->sentence, SMSR_SENTENCE, format, arguments);
    va_end(arguments);
    return -1;
}

#endif
