// SMSR inside its masks: srdeploy/sparse/portable.
#include <stdlib.h>

#include "program.h"
#include "smsr.h"

namespace {

// Memory for an image's values; a device's may be too small for what its shape says.
float* room(const Shape& s) {
  void* found = malloc(s.size() * sizeof(float));
  if (!found) fail("There is not enough memory for the input and the output.");
  return static_cast<float*>(found);
}

class Sparse : public Network {
 public:
  Sparse(smsr* net, const Request& r) : net_(net), request_(r), out_(r.shape) {
    x_ = room(r.shape);
    Input input(r);
    for (size_t i = 0; i < size_t(r.shape.n) * r.shape.c; i++) input.read(x_ + i * r.shape.plane());
    input.end();
    out_.h *= smsr_scale(net_);
    out_.w *= smsr_scale(net_);
    y_ = room(out_);
  }

  void run() override {
    smsr_error error;
    const Shape& s = request_.shape;
    if (smsr_run(net_, x_, s.n, s.h, s.w, y_, &error) != 0) fail("%s", error.sentence);
  }

  Shape shape() override { return out_; }

  const float* plane(int image, int channel) override {
    return y_ + (size_t(image) * out_.c + channel) * out_.plane();
  }

  void tell() override {
    printf("runtime sparse %d\nprecision %s\nkernel %s\n", RUNNER_VERSION, smsr_precision(net_),
           smsr_kernel(net_));
    for (int i = 0; i < smsr_modules(net_); i++)
      printf("module %.4f rows\n", smsr_density(net_, i));
  }

 private:
  smsr* net_;
  const Request& request_;
  Shape out_;
  float *x_, *y_;
};

}  // namespace

Network* open_sparse(const Request& r, double* load_ms) {
  smsr_error error;
  const double start = now_ms();
  const char* kernel = r.kernel.empty() ? nullptr : r.kernel.c_str();
  smsr* net = smsr_open(r.net.c_str(), kernel, r.threads, &error);
  if (!net) fail("%s", error.sentence);
  *load_ms = now_ms() - start;
  if (r.shape.c != 3) fail("SMSR takes images of 3 channels, not of %d.", r.shape.c);
  return new Sparse(net, r);
}
