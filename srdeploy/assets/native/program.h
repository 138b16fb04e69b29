// What the parts of the runner share: the request, how it fails, and what a network can do.
#pragma once

#include <stddef.h>
#include <stdio.h>

#include "platform.h"  // ncnn's: std::string and std::vector

#define RUNNER_VERSION 3  // of command line and answer: srdeploy.devices.native.VERSION

// Ends the program with one sentence, which the other side shows as it is.
[[noreturn]] __attribute__((format(printf, 1, 2))) void fail(const char* format, ...);

struct Shape {
  int n = 0, c = 0, h = 0, w = 0;
  size_t plane() const { return size_t(h) * w; }
  size_t size() const { return plane() * c * n; }
};

struct Request {
  std::string param, bin, net, kernel, input, output, precision = "fp32";
  Shape shape;
  int threads = 1, warmup_runs = 0, min_runs = 0;
  double warmup_seconds = 0, min_seconds = 0;
};

Request read_request(int count, char** words);

// A loaded network and its input.
class Network {
 public:
  virtual ~Network() {}
  // Runs on the whole input.
  virtual void run() {}
  // Of the latest output.
  virtual Shape shape() { return Shape(); }
  // [h][w] values of it.
  virtual const float* plane(int, int) { return nullptr; }
  // Prints what runs it, and what it computed in.
  virtual void tell() {}
};

// Load, and read the input; they live as long as the program. `load_ms`: without the input.
Network* open_ncnn(const Request& r, double* load_ms);
Network* open_sparse(const Request& r, double* load_ms);

double now_ms();

// The planes of the input, one after the other: raw float32 [N, C, H, W].
class Input {
 public:
  explicit Input(const Request& r);
  void read(float* plane);
  void end();

 private:
  const Request& request_;
  FILE* file_;
};
