// oneDNN's convolutions as one XLA FFI call on a CPU: NHWC images, HWIO kernels, float32 or bfloat16.
//
// Images keep XLA's plain layout. Kernels, which are small, are reordered inside the call to and from the layout that
// oneDNN chooses: with plain kernels it computes a third as fast. Primitives are made once per geometry and kept.
#include <sched.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "oneapi/dnnl/dnnl.hpp"
#include "xla/ffi/api/ffi.h"

namespace ffi = xla::ffi;
using dnnl::memory;

namespace {

enum Kind { FORWARD, IMAGES, KERNEL };

// kind, bfloat16, strides (2), dilation (2), pads (top, bottom, left, right), groups, images (N, H, W, C),
// kernel (kh, kw, Cin / groups, Cout), output (N, H', W', Cout)
constexpr int HEAD = 11;
using Key = std::array<int64_t, HEAD + 12>;

// Below so many multiply-adds one thread computes: waking the others takes longer.
constexpr double FEW = 2e6;

struct Op {
  dnnl::primitive convolution;
  dnnl::reorder reorder;
  memory::desc images, kernel, inner, output, scratch;
  bool reordered, fast;
};

// Of libgomp, which the library brings along.
extern "C" void omp_set_num_threads(int);
extern "C" int omp_get_max_threads();
const int wished = std::getenv("OMP_NUM_THREADS") ? omp_get_max_threads() : CPU_SETSIZE;

// Return how many threads compute a convolution. The cores of a process may change: a study's workers share them.
int threads(const Key& key) {
  double work = 1;
  for (int i : {11, 15, 16, 17, 18, 20, 21}) work *= key[i];  // N, kh, kw, Cin / groups, Cout, H', W'
  cpu_set_t cores;
  if (work < FEW || sched_getaffinity(0, sizeof cores, &cores)) return 1;
  return std::min(wished, CPU_COUNT(&cores));
}

// OpenMP serves one call at a time; the same lock guards the primitives and the buffers.
std::mutex lock;

const dnnl::engine& cpu() {
  static auto* engine = new dnnl::engine(dnnl::engine::kind::cpu, 0);
  return *engine;
}

std::unique_ptr<Op> make(const Key& key) {
  auto [kind, bf16, sh, sw, dh, dw, top, bottom, left, right, groups, n, h, w, cin, kh, kw, depth, cout, m, oh, ow, co] =
      key;
  auto type = bf16 ? memory::data_type::bf16 : memory::data_type::f32;
  memory::dims taps{cout, depth, kh, kw}, steps{1, cout, kw * depth * cout, depth * cout};
  if (groups > 1) {
    taps = {groups, cout / groups, depth, kh, kw};
    steps = {cout / groups, 1, cout, kw * depth * cout, depth * cout};
  }
  auto op = std::make_unique<Op>();
  op->images = {{n, cin, h, w}, type, memory::format_tag::nhwc};
  op->output = {{n, cout, oh, ow}, type, memory::format_tag::nhwc};
  op->kernel = {taps, type, steps};
  memory::desc any{taps, type, memory::format_tag::any};
  memory::dims strides{sh, sw}, dilation{dh - 1, dw - 1}, low{top, left}, high{bottom, right};
  dnnl::primitive_attr attr;
  attr.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  auto direct = dnnl::algorithm::convolution_direct;
  dnnl::convolution_forward::primitive_desc forward(cpu(), dnnl::prop_kind::forward_training, direct, op->images, any,
                                                    op->output, strides, dilation, low, high, attr);
  auto keep = [&](const auto& description, auto primitive, memory::desc inner) {
    op->convolution = primitive;
    op->scratch = description.scratchpad_desc();
    op->inner = inner;
    op->fast = std::string(description.impl_info_str()).rfind("ref", 0) != 0;
  };
  if (kind == FORWARD) {
    keep(forward, dnnl::convolution_forward(forward), forward.weights_desc());
  } else if (kind == IMAGES) {
    dnnl::convolution_backward_data::primitive_desc back(cpu(), direct, op->images, any, op->output, strides, dilation,
                                                         low, high, forward, attr);
    keep(back, dnnl::convolution_backward_data(back), back.weights_desc());
  } else {
    dnnl::convolution_backward_weights::primitive_desc back(cpu(), direct, op->images, any, op->output, strides,
                                                            dilation, low, high, forward, attr);
    keep(back, dnnl::convolution_backward_weights(back), back.diff_weights_desc());
  }
  op->reordered = op->inner != op->kernel;
  if (op->reordered) {
    auto &from = kind == KERNEL ? op->inner : op->kernel, &to = kind == KERNEL ? op->kernel : op->inner;
    op->reorder = dnnl::reorder(dnnl::reorder::primitive_desc(cpu(), from, cpu(), to));
  }
  return op;
}

const Op& find(const Key& key) {
  static auto* made = new std::map<std::pair<Key, int>, std::unique_ptr<Op>>;
  const int count = threads(key);
  omp_set_num_threads(count);
  auto& op = (*made)[{key, count}];
  if (!op) op = make(key);
  return *op;
}

// Memory that stays allocated between calls: scratch space and the reordered kernel.
void* buffer(int slot, size_t size) {
  static void* data[2];
  static size_t sizes[2];
  if (sizes[slot] < size) {
    std::free(data[slot]);
    sizes[slot] = (size + 4095) / 4096 * 4096;
    data[slot] = std::aligned_alloc(4096, sizes[slot]);
    if (!data[slot]) {
      sizes[slot] = 0;
      throw std::bad_alloc();
    }
  }
  return data[slot];
}

void compute(const Key& key, int64_t members, char* images, char* kernel, char* output) {
  static auto* stream = new dnnl::stream(cpu());
  const Op& op = find(key);
  const Kind kind = Kind(key[0]);
  memory x(op.images, cpu(), nullptr), k(op.kernel, cpu(), nullptr), y(op.output, cpu(), nullptr);
  memory inner = op.reordered ? memory(op.inner, cpu(), buffer(0, op.inner.get_size())) : k;
  memory scratch(op.scratch, cpu(), buffer(1, op.scratch.get_size()));
  const int read[] = {DNNL_ARG_SRC, DNNL_ARG_DIFF_SRC, DNNL_ARG_SRC};
  const int taps[] = {DNNL_ARG_WEIGHTS, DNNL_ARG_WEIGHTS, DNNL_ARG_DIFF_WEIGHTS};
  const int written[] = {DNNL_ARG_DST, DNNL_ARG_DIFF_DST, DNNL_ARG_DIFF_DST};
  for (int64_t i = 0; i < members; ++i) {
    x.set_data_handle(images + i * op.images.get_size());
    k.set_data_handle(kernel + i * op.kernel.get_size());
    y.set_data_handle(output + i * op.output.get_size());
    if (op.reordered && kind != KERNEL) op.reorder.execute(*stream, k, inner);
    op.convolution.execute(*stream, {{read[kind], x}, {taps[kind], inner}, {written[kind], y},
                                     {DNNL_ARG_SCRATCHPAD, scratch}});
    if (op.reordered && kind == KERNEL) op.reorder.execute(*stream, inner, k);
  }
  stream->wait();
}

// a and b are read: (images, kernel) -> output, (output, kernel) -> images or (images, output) -> kernel. A fifth axis,
// in front and on all three, counts independent convolutions.
ffi::Error convolve(ffi::AnyBuffer a, ffi::AnyBuffer b, ffi::Result<ffi::AnyBuffer> result,
                    ffi::Span<const int64_t> geometry) {
  ffi::AnyBuffer c = *result;
  const int64_t kind = geometry[0];
  const ffi::AnyBuffer &images = kind == IMAGES ? c : a, &kernel = kind == KERNEL ? c : b,
                       &output = kind == FORWARD ? c : kind == IMAGES ? a : b;
  Key key;
  std::copy(geometry.begin(), geometry.end(), key.begin());
  auto place = key.begin() + HEAD;
  for (auto* each : {&images, &kernel, &output})
    place = std::copy(each->dimensions().end() - 4, each->dimensions().end(), place);
  const int64_t members = a.dimensions().size() == 5 ? a.dimensions()[0] : 1;
  std::lock_guard<std::mutex> hold(lock);
  try {
    compute(key, members, (char*)images.untyped_data(), (char*)kernel.untyped_data(), (char*)output.untyped_data());
  } catch (const std::exception& error) {
    return ffi::Error::Internal(std::string("oneDNN: ") + error.what());
  }
  return ffi::Error::Success();
}

}  // namespace

extern "C" {

XLA_FFI_DEFINE_HANDLER_SYMBOL(jaxcnn_convolve, convolve,
                              ffi::Ffi::Bind().Arg<ffi::AnyBuffer>().Arg<ffi::AnyBuffer>().Ret<ffi::AnyBuffer>()
                                  .Attr<ffi::Span<const int64_t>>("geometry"));

// Make the primitive of a key; return 1 if it has optimized code on this processor, else 0.
int jaxcnn_is_fast(const int64_t* values) {
  Key key;
  std::copy(values, values + key.size(), key.begin());
  std::lock_guard<std::mutex> hold(lock);
  try {
    return find(key).fast;
  } catch (const std::exception&) {
    return 0;
  }
}

}  // extern "C"
