// What libtorch offers in C++ and torch-sys doesn't pass on: precision switches, the allocator's peak,
// the Metal device's synchronisation, and what the library says of its build. No exception leaves.

#include <cstdint>
#include <cstring>
#include <string>

#include <ATen/Context.h>
#include <ATen/Version.h>
#include <c10/core/CachingDeviceAllocator.h>

#ifdef __APPLE__
#include <torch/mps.h>
#endif

// Allows or forbids TF32 and sums of reduced precision, everywhere that libtorch has a switch for it.
extern "C" bool pipe_torch_allow_reduced_precision(bool allowed) noexcept {
  try {
    auto& context = at::globalContext();
    context.setFloat32MatmulPrecision(allowed ? "high" : "highest");
    context.setAllowTF32CuDNN(allowed);
    context.setAllowTF32OneDNN(allowed);
    context.setAllowFP16ReductionCuBLAS(allowed);
    context.setAllowBF16ReductionCuBLAS(allowed);
    context.setAllowFP16AccumulationCuBLAS(false);
    return true;
  } catch (...) {
    return false;
  }
}

// Whether anything of reduced precision is allowed: 1 or 0, and -1 where libtorch doesn't say.
extern "C" int pipe_torch_reduced_precision() noexcept {
  try {
    const auto& context = at::globalContext();
    const auto none = at::CuBLASReductionOption::AllowReducedPrecisionWithSplitK;
    return context.float32MatmulPrecision() != at::Float32MatmulPrecision::HIGHEST ||
        context.allowTF32CuDNN() || context.allowTF32OneDNN() ||
        context.allowFP16ReductionCuBLAS() == none || context.allowBF16ReductionCuBLAS() == none ||
        context.allowFP16AccumulationCuBLAS();
  } catch (...) {
    return -1;
  }
}

// Peak bytes that the caching allocator of CUDA held; false where there is no such allocator.
extern "C" bool pipe_torch_cuda_peak(uint64_t* bytes) noexcept {
  try {
    const auto stats = c10::getDeviceAllocator(c10::DeviceType::CUDA)->getDeviceStats(0);
    const auto all = static_cast<size_t>(c10::CachingAllocator::StatType::AGGREGATE);
    *bytes = static_cast<uint64_t>(stats.reserved_bytes[all].peak);
    return true;
  } catch (...) {
    return false;
  }
}

// Waits for the Metal device; false where there is none.
extern "C" bool pipe_torch_synchronize_mps() noexcept {
#ifdef __APPLE__
  try {
    torch::mps::synchronize();
    return true;
  } catch (...) {
    return false;
  }
#else
  return false;
#endif
}

// Copies what the library says of itself, cut to `size` bytes with the closing zero.
extern "C" void pipe_torch_about(int what, char* to, size_t size) noexcept {
  std::string text;
  try {
    switch (what) {
      case 0: text = at::show_config(); break;
      case 1: text = at::get_cpu_capability(); break;
      case 2: text = at::get_mkl_version(); break;
      case 3: text = at::get_mkldnn_version(); break;
      case 4: text = at::get_openmp_version(); break;
    }
  } catch (...) {
    text.clear();
  }
  if (size == 0) return;
  const size_t length = std::min(text.size(), size - 1);
  std::memcpy(to, text.data(), length);
  to[length] = '\0';
}
