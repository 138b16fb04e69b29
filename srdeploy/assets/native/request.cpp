// The command line and the input file.
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "program.h"

void fail(const char* format, ...) {
  fputs("error ", stdout);
  va_list arguments;
  va_start(arguments, format);
  vprintf(format, arguments);
  va_end(arguments);
  putchar('\n');
  fflush(stdout);
  exit(2);
}

double now_ms() {
  timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1e3 + t.tv_nsec * 1e-6;
}

static Shape read_shape(const char* text) {
  Shape s;
  char rest;
  if (sscanf(text, "%d,%d,%d,%d%c", &s.n, &s.c, &s.h, &s.w, &rest) != 4 || s.n < 1 || s.c < 1 ||
      s.h < 1 || s.w < 1)
    fail("'%s' is no shape N,C,H,W.", text);
  return s;
}

static double read_number(const char* name, const char* text) {
  char* end;
  const double value = strtod(text, &end);
  if (end == text || *end || !(value >= 0)) fail("%s takes a number, not '%s'.", name, text);
  return value;
}

Request read_request(int count, char** words) {
  Request r;
  for (int i = 1; i < count; i += 2) {
    const std::string name = words[i];
    if (i + 1 == count) fail("%s needs a value.", words[i]);
    const char* value = words[i + 1];
    if (name == "--param") r.param = value;
    else if (name == "--bin") r.bin = value;
    else if (name == "--net") r.net = value;
    else if (name == "--kernel") r.kernel = value;
    else if (name == "--input") r.input = value;
    else if (name == "--output") r.output = value;
    else if (name == "--precision") r.precision = value;
    else if (name == "--shape") r.shape = read_shape(value);
    else if (name == "--threads") r.threads = int(read_number(words[i], value));
    else if (name == "--warmup-runs") r.warmup_runs = int(read_number(words[i], value));
    else if (name == "--warmup-seconds") r.warmup_seconds = read_number(words[i], value);
    else if (name == "--min-runs") r.min_runs = int(read_number(words[i], value));
    else if (name == "--min-seconds") r.min_seconds = read_number(words[i], value);
    else fail("There is no option %s.", words[i]);
  }
  if ((r.net.empty() && (r.param.empty() || r.bin.empty())) || r.input.empty() || !r.shape.n)
    fail("--param and --bin, or --net, and --input and --shape are needed.");
  if (r.precision != "fp32" && r.precision != "fp16" && r.precision != "bf16")
    fail("There is no precision '%s'; known: fp32, fp16, bf16.", r.precision.c_str());
  if (r.threads < 1) fail("--threads must be 1 or more.");
  return r;
}

Input::Input(const Request& r) : request_(r), file_(fopen(r.input.c_str(), "rb")) {
  if (!file_) fail("Cannot read '%s': %s.", r.input.c_str(), strerror(errno));
}

void Input::read(float* plane) {
  const size_t count = request_.shape.plane();
  if (fread(plane, sizeof(float), count, file_) != count)
    fail("'%s' is shorter than its shape says.", request_.input.c_str());
}

void Input::end() {
  if (fgetc(file_) != EOF) fail("'%s' is longer than its shape says.", request_.input.c_str());
  fclose(file_);
}
