// Networks in ncnn's format.
#include <stdlib.h>
#include <string.h>

#include "cpu.h"
#include "layer_type.h"
#include "net.h"
#include "program.h"
#if NCNN_VULKAN
#include "command.h"
#include "gpu.h"
#endif

namespace {

constexpr int kProbe = 48;  // side of the piece on which layers are looked at

// One Mat per image.
std::vector<ncnn::Mat> read_images(const Request& r) {
  Input input(r);
  std::vector<ncnn::Mat> images;
  const Shape& s = r.shape;
  for (int n = 0; n < s.n; n++) {
    ncnn::Mat image(s.w, s.h, s.c);
    if (image.empty()) fail("There is not enough memory for the input.");
    for (int c = 0; c < s.c; c++) input.read(image.channel(c));  // channels are padded in memory
    images.push_back(image);
  }
  input.end();
  return images;
}

#if NCNN_VULKAN
// Takes the device that ncnn prefers: a card before what is part of a processor before software.
void choose_gpu(ncnn::Net& net) {
  if (ncnn::create_gpu_instance() != 0 || ncnn::get_gpu_count() == 0)
    fail("There is no Vulkan device: install the GPU's driver and libvulkan1 there (Debian's "
         "mesa-vulkan-drivers has one in software), or take the CPU with --runtime ncnn.");
  net.opt.use_vulkan_compute = true;
  net.set_vulkan_device(ncnn::get_default_gpu_index());
}

// What an extractor needs to leave tensors on the GPU; it must be gone before this is.
struct GpuMemory {
  explicit GpuMemory(const ncnn::Net& net) : device(net.vulkan_device()) {
    blobs = device->acquire_blob_allocator();
    staging = device->acquire_staging_allocator();
  }
  void lend(ncnn::Extractor& extractor) const {
    extractor.set_blob_vkallocator(blobs);
    extractor.set_workspace_vkallocator(blobs);
    extractor.set_staging_vkallocator(staging);
  }
  ~GpuMemory() {
    device->reclaim_blob_allocator(blobs);
    device->reclaim_staging_allocator(staging);
  }
  const ncnn::VulkanDevice* device;
  ncnn::VkAllocator *blobs, *staging;
};

void tell_gpu(const ncnn::Net& net) {
  static const char* const kinds[] = {"discrete", "integrated", "virtual", "software"};
  const ncnn::GpuInfo& info = net.vulkan_device()->info;
  printf("gpu %s %s\n", kinds[info.type() & 3], info.device_name());
}
#endif

void load(ncnn::Net& net, const Request& r) {
#if NCNN_VULKAN
  choose_gpu(net);
#endif
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

// The lines of convolutions in a .param file, until one of them is enough.
template <typename Enough>
void read_convolutions(const std::string& param, Enough enough) {
  FILE* file = fopen(param.c_str(), "r");
  char line[4096];
  while (file && fgets(line, sizeof line, file))
    if (!strncmp(line, "Convolution", 11) && enough(line)) break;
  if (file) fclose(file);
}

// Whether a convolution has weights in 8 bits, which is then what ncnn multiplies.
bool in_bytes(const std::string& param) {
  bool found = false;
  read_convolutions(param, [&](const char* line) { return found = parameter(line, " 8=", 0); });
  return found;
}

// The channels that the first convolution has weights for; 0 where they cannot be told.
int first_channels(const std::string& param) {
  int channels = 0;
  read_convolutions(param, [&](const char* line) {
    if (line[11] != ' ') return false;  // of another kind
    const int width = parameter(line, " 1=", 0);
    const int one = parameter(line, " 0=", 0) * width * parameter(line, " 11=", width);
    channels = one ? parameter(line, " 6=", 0) / one : 0;
    return channels != 0;
  });
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
#if NCNN_VULKAN
  const GpuMemory memory(net);
#endif
  ncnn::Extractor extractor = net.create_extractor();
  extractor.set_light_mode(false);
#if NCNN_VULKAN
  memory.lend(extractor);
#endif
  extractor.input(net.input_indexes()[0], piece);
  int halves = 0, wholes = 0;
  for (const ncnn::Layer* layer : net.layers()) {
    if (layer->typeindex != ncnn::LayerType::Convolution) continue;
#if NCNN_VULKAN
    ncnn::VkCompute command(net.vulkan_device());  // on the way to the host it would become float32
    ncnn::VkMat blob;
    const bool ran = extractor.extract(layer->tops[0], blob, command) == 0 &&
                     command.submit_and_wait() == 0;
#else
    ncnn::Mat blob;
    const int as_it_is = 1;
    const bool ran = extractor.extract(layer->tops[0], blob, as_it_is) == 0;
#endif
    if (!ran) fail("The network cannot run on %dx%dx%d.", piece.c, piece.h, piece.w);
    (blob.elembits() == 16 ? halves : wholes)++;
  }
  if (halves == 0) return "fp32";
#if NCNN_VULKAN
  const bool computed = net.vulkan_device()->info.support_fp16_arithmetic();
  return !computed ? "fp32 (fp16 storage)" : wholes ? "fp16+fp32" : "fp16";
#endif
  if (net.opt.use_bf16_storage) {
    const bool products = ncnn::cpu_support_arm_bf16() || ncnn::cpu_support_x86_avx512_bf16();
    return wholes ? "bf16+fp32" : products ? "bf16" : "fp32 (bf16 storage)";
  }
  return wholes ? "fp16+fp32" : ncnn::cpu_support_arm_asimdhp() ? "fp16" : "fp32 (fp16 storage)";
}

class Ncnn : public Network {
 public:
  explicit Ncnn(const Request& r) : request_(r) {}

  void load_network() { load(net_, request_); }

  void read() {
    images_ = read_images(request_);
    piece_ = corner(images_[0]);
    check_channels(net_, request_, piece_);
  }

  void run() override {
    results_.clear();
    for (const ncnn::Mat& image : images_) results_.push_back(run_one(net_, image));
  }

  Shape shape() override {
    const ncnn::Mat& y = results_[0];
    Shape s;
    s.n = request_.shape.n;
    s.c = y.c;
    s.h = y.h;
    s.w = y.w;
    return s;
  }

  const float* plane(int image, int channel) override { return results_[image].channel(channel); }

  void tell() override {
#if NCNN_VULKAN
    printf("runtime ncnn-vulkan %s\n", RUNNER_NCNN_VERSION);
    tell_gpu(net_);
#else
    printf("runtime ncnn %s\n", RUNNER_NCNN_VERSION);
#endif
    printf("precision %s\n", in_bytes(request_.param) ? "int8" : precision_of(net_, piece_));
  }

 private:
  const Request& request_;
  ncnn::Net net_;
  std::vector<ncnn::Mat> images_, results_;
  ncnn::Mat piece_;
};

}  // namespace

Network* open_ncnn(const Request& r, double* load_ms) {
  Ncnn* network = new Ncnn(r);
  const double start = now_ms();
  network->load_network();
  *load_ms = now_ms() - start;
  network->read();
  return network;
}
