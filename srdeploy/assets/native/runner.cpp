// srdeploy-runner: times one network on this machine's CPU and writes out what it computed.
//
// One static program for Android, boards and servers. Its command line and its answer are described
// in srdeploy/devices/native.py, which is the only thing that talks to it. std::string and
// std::vector are ncnn's own small ones (simplestl.h): no C++ library has to be built or linked.

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cpu.h"
#include "layer_type.h"
#include "net.h"

namespace {

constexpr int kVersion = 1;  // of command line and answer: srdeploy.devices.native.VERSION
constexpr int kProbe = 48;   // side of the piece on which layers are looked at

// Ends the program with one sentence, which the other side shows as it is.
[[noreturn]] __attribute__((format(printf, 1, 2))) void fail(const char* format, ...) {
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

struct Shape {
  int n = 0, c = 0, h = 0, w = 0;
  size_t image() const { return size_t(c) * h * w; }
};

struct Request {
  std::string param, bin, input, output, precision = "fp32";
  Shape shape;
  int threads = 1, warmup_runs = 0, min_runs = 0;
  double warmup_seconds = 0, min_seconds = 0;
};

Shape read_shape(const char* text) {
  Shape s;
  char rest;
  if (sscanf(text, "%d,%d,%d,%d%c", &s.n, &s.c, &s.h, &s.w, &rest) != 4 || s.n < 1 || s.c < 1 ||
      s.h < 1 || s.w < 1)
    fail("'%s' is no shape N,C,H,W.", text);
  return s;
}

double read_number(const char* name, const char* text) {
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
  if (r.param.empty() || r.bin.empty() || r.input.empty() || !r.shape.n)
    fail("--param, --bin, --input and --shape are needed.");
  if (r.precision != "fp32" && r.precision != "fp16" && r.precision != "bf16")
    fail("There is no precision '%s'; known: fp32, fp16, bf16.", r.precision.c_str());
  if (r.threads < 1) fail("--threads must be 1 or more.");
  return r;
}

// Raw float32 [N, C, H, W] as one Mat per image.
std::vector<ncnn::Mat> read_images(const Request& r) {
  FILE* file = fopen(r.input.c_str(), "rb");
  if (!file) fail("Cannot read '%s': %s.", r.input.c_str(), strerror(errno));
  std::vector<ncnn::Mat> images;
  const Shape& s = r.shape;
  for (int n = 0; n < s.n; n++) {
    ncnn::Mat image(s.w, s.h, s.c);
    if (image.empty()) fail("There is not enough memory for the input.");
    for (int c = 0; c < s.c; c++)  // channels are padded in memory
      if (fread(image.channel(c), sizeof(float), size_t(s.w) * s.h, file) != size_t(s.w) * s.h)
        fail("'%s' is shorter than its shape says.", r.input.c_str());
    images.push_back(image);
  }
  if (fgetc(file) != EOF) fail("'%s' is longer than its shape says.", r.input.c_str());
  fclose(file);
  return images;
}

void write_images(const std::string& path, const std::vector<ncnn::Mat>& images) {
  FILE* file = fopen(path.c_str(), "wb");
  bool good = file != nullptr;
  for (const ncnn::Mat& image : images)
    for (int c = 0; good && c < image.c; c++) {
      const size_t count = size_t(image.w) * image.h;
      good = fwrite(image.channel(c), sizeof(float), count, file) == count;
    }
  if (file && fclose(file) != 0) good = false;  // a full disk may show only here
  if (!good) fail("Cannot write '%s': %s.", path.c_str(), strerror(errno));
}

void load(ncnn::Net& net, const Request& r) {
  ncnn::Option& o = net.opt;
  const bool fp16 = r.precision == "fp16";
  o.num_threads = r.threads;
  o.use_fp16_packed = o.use_fp16_storage = o.use_fp16_arithmetic = fp16;
  o.use_bf16_packed = o.use_bf16_storage = r.precision == "bf16";
  if (net.load_param(r.param.c_str()) != 0)
    fail("'%s' is no network that this runner knows (ncnn's complaint is above).",
         r.param.c_str());
  if (net.load_model(r.bin.c_str()) != 0)
    fail("'%s' does not hold the weights of '%s'; it may be cut off.", r.bin.c_str(),
         r.param.c_str());
  if (net.input_indexes().size() != 1 || net.output_indexes().size() != 1)
    fail("'%s' has not one input and one output.", r.param.c_str());
}

// The value of a layer's parameter in its line of the .param file, e.g. " 11=" of "... 11=3 ...".
int parameter(const char* line, const char* key, int absent) {
  const char* found = strstr(line, key);
  return found ? atoi(found + strlen(key)) : absent;
}

// The channels that the first convolution has weights for; 0 where they cannot be told.
int first_channels(const std::string& param) {
  FILE* file = fopen(param.c_str(), "r");
  char line[4096];
  int channels = 0;
  while (file && !channels && fgets(line, sizeof line, file))
    if (!strncmp(line, "Convolution ", 12)) {
      const int width = parameter(line, " 1=", 0);
      const int one = parameter(line, " 0=", 0) * width * parameter(line, " 11=", width);
      channels = one ? parameter(line, " 6=", 0) / one : 0;
    }
  if (file) fclose(file);
  return channels;
}

// ncnn believes that an input has the channels that a convolution has weights for, and reads
// whatever lies behind them.
void check_channels(const ncnn::Net& net, const Request& r, const ncnn::Mat& image) {
  const int wanted = first_channels(r.param);
  for (const ncnn::Layer* layer : net.layers()) {
    if (layer->typeindex != ncnn::LayerType::Convolution || !wanted) continue;
    ncnn::Extractor extractor = net.create_extractor();
    ncnn::Mat blob;
    if (extractor.input(net.input_indexes()[0], image) != 0 ||
        extractor.extract(layer->bottoms[0], blob) != 0 || blob.c != wanted)
      fail("The network cannot run on %dx%dx%d: its first convolution takes %d channels.", image.c,
           image.h, image.w, wanted);
    return;
  }
}

ncnn::Mat run_one(const ncnn::Net& net, const ncnn::Mat& image) {
  ncnn::Extractor extractor = net.create_extractor();
  ncnn::Mat result;
  if (extractor.input(net.input_indexes()[0], image) != 0 ||
      extractor.extract(net.output_indexes()[0], result) != 0 || result.empty())
    fail("The network cannot run on %dx%dx%d: a layer failed, or memory ran out.", image.c,
         image.h, image.w);
  return result;
}

std::vector<ncnn::Mat> run(const ncnn::Net& net, const std::vector<ncnn::Mat>& images) {
  std::vector<ncnn::Mat> results;
  for (const ncnn::Mat& image : images) results.push_back(run_one(net, image));
  return results;
}

double timed(const ncnn::Net& net, const std::vector<ncnn::Mat>& images) {
  const double start = now_ms();
  run(net, images);
  return now_ms() - start;
}

// A corner of an image, enough for a look at what the layers do.
ncnn::Mat corner(const ncnn::Mat& whole) {
  ncnn::Mat piece;
  ncnn::copy_cut_border(whole, piece, 0, whole.h > kProbe ? whole.h - kProbe : 0, 0,
                        whole.w > kProbe ? whole.w - kProbe : 0);
  return piece;
}

// What the convolutions really put out, read back from their blobs: options are only wishes, and a
// processor without half precision gets float32.
const char* precision_of(const ncnn::Net& net, const ncnn::Mat& piece) {
  ncnn::Extractor extractor = net.create_extractor();
  extractor.set_light_mode(false);
  extractor.input(net.input_indexes()[0], piece);
  int halves = 0, wholes = 0;
  for (const ncnn::Layer* layer : net.layers()) {
    if (layer->typeindex != ncnn::LayerType::Convolution) continue;
    ncnn::Mat blob;
    const int as_it_is = 1;
    if (extractor.extract(layer->tops[0], blob, as_it_is) != 0)
      fail("The network cannot run on %dx%dx%d.", piece.c, piece.h, piece.w);
    (blob.elembits() == 16 ? halves : wholes)++;
  }
  if (halves == 0) return "fp32";
  if (net.opt.use_bf16_storage) {
    const bool products = ncnn::cpu_support_arm_bf16() || ncnn::cpu_support_x86_avx512_bf16();
    return wholes ? "bf16+fp32" : products ? "bf16" : "fp32 (bf16 storage)";
  }
  return wholes ? "fp16+fp32" : ncnn::cpu_support_arm_asimdhp() ? "fp16" : "fp32 (fp16 storage)";
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
    printf("srdeploy-runner %d ncnn %s\n", kVersion, RUNNER_NCNN_VERSION);
    return 0;
  }
  const Request request = read_request(count, words);
  const std::vector<ncnn::Mat> images = read_images(request);

  const double start = now_ms();
  ncnn::Net net;
  load(net, request);
  const double load_ms = now_ms() - start;
  const ncnn::Mat piece = corner(images[0]);
  check_channels(net, request, piece);

  const double before = now_ms();
  const std::vector<ncnn::Mat> results = run(net, images);
  const double first_ms = now_ms() - before;
  if (!request.output.empty()) write_images(request.output, results);

  const double warm = now_ms();
  for (int i = 0; i < request.warmup_runs || now_ms() - warm < request.warmup_seconds * 1e3; i++)
    run(net, images);

  std::vector<double> samples;
  const double begin = now_ms();
  while (int(samples.size()) < request.min_runs ||
         (request.min_runs && now_ms() - begin < request.min_seconds * 1e3))
    samples.push_back(timed(net, images));
  const double peak = peak_mb();

  printf("runtime ncnn %s\n", RUNNER_NCNN_VERSION);
  printf("precision %s\n", precision_of(net, piece));
  printf("threads %d\n", request.threads);
  printf("load_ms %.3f\n", load_ms);
  printf("first_ms %.3f\n", first_ms);
  for (double sample : samples) printf("sample_ms %.4f\n", sample);
  if (peak > 0) printf("peak_mb %.2f\n", peak);
  const ncnn::Mat& y = results[0];
  printf("output %d,%d,%d,%d\n", request.shape.n, y.c, y.h, y.w);
  printf("end ok\n");
  return fflush(stdout) == 0 ? 0 : 1;
}
