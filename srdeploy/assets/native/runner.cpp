// srdeploy-runner: times one network on this machine's CPU and writes out what it computed.
//
// One static program for Android, boards and servers. Its command line and its answer are described
// in srdeploy/devices/native.py, which is the only thing that talks to it. std::string and
// std::vector are ncnn's own small ones (simplestl.h): no C++ library has to be built or linked.
// Built as srdeploy-runner-vulkan, it runs ncnn's networks on the GPU, and has both of a library.

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "program.h"

namespace {

void write_output(const std::string& path, Network* network) {
  FILE* file = fopen(path.c_str(), "wb");
  bool good = file != nullptr;
  const Shape s = network->shape();
  for (int n = 0; n < s.n; n++)
    for (int c = 0; good && c < s.c; c++)
      good = fwrite(network->plane(n, c), sizeof(float), s.plane(), file) == s.plane();
  if (file && fclose(file) != 0) good = false;  // a full disk may show only here
  if (!good) fail("Cannot write '%s': %s.", path.c_str(), strerror(errno));
}

double timed(Network* network) {
  const double start = now_ms();
  network->run();
  return now_ms() - start;
}

// The most memory that was resident, MB. Not getrusage's: that one counts what called this program,
// too, until it became this program.
double peak_mb() {
  FILE* file = fopen("/proc/self/status", "r");
  char line[256];
  long kib = 0;
  while (file && fgets(line, sizeof line, file))
    if (sscanf(line, "VmHWM: %ld kB", &kib) == 1) break;
  if (file) fclose(file);
  return kib * 1024e-6;
}

}  // namespace

int main(int count, char** words) {
  setvbuf(stdout, nullptr, _IOLBF, 0);
  if (count == 2 && !strcmp(words[1], "--version")) {
    printf("srdeploy-runner %d ncnn %s\n", RUNNER_VERSION, RUNNER_NCNN_VERSION);
    return 0;
  }
  const Request request = read_request(count, words);
  double load_ms = 0;
  Network* network =
      request.net.empty() ? open_ncnn(request, &load_ms) : open_sparse(request, &load_ms);

  const double first_ms = timed(network);
  if (!request.output.empty()) write_output(request.output, network);

  const double warm = now_ms();
  for (int i = 0; i < request.warmup_runs || now_ms() - warm < request.warmup_seconds * 1e3; i++)
    network->run();

  std::vector<double> samples;
  const double begin = now_ms();
  while (int(samples.size()) < request.min_runs ||
         (request.min_runs && now_ms() - begin < request.min_seconds * 1e3))
    samples.push_back(timed(network));
  const double peak = peak_mb();

  network->tell();
  printf("threads %d\n", request.threads);
  printf("load_ms %.3f\n", load_ms);
  printf("first_ms %.3f\n", first_ms);
  for (double sample : samples) printf("sample_ms %.4f\n", sample);
  if (peak > 0) printf("peak_mb %.2f\n", peak);
  const Shape y = network->shape();
  printf("output %d,%d,%d,%d\n", y.n, y.c, y.h, y.w);
  delete network;  // before the GPU that it is on
  printf("end ok\n");
  return fflush(stdout) == 0 ? 0 : 1;
}
