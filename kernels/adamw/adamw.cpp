// AdamW: checks, and the choice of backend.
// SPDX-License-Identifier: Apache-2.0
#include "kernels/adamw/adamw.h"

#include "base/error.h"
#include "base/profile.h"
#include "kernels/adamw/cpu.h"
#include "kernels/adamw/cuda.h"
#include "kernels/adamw/ref.h"
#include "kernels/common/checks.h"

namespace memring {

namespace {

/// f(range, whether it decays) for all of [0, n), in order.
template <class F>
void for_runs(std::span<const Range> decayed, int64_t n, const F& f) {
  int64_t at = 0;
  for (const Range& range : decayed) {
    if (at < range.begin) f(Range{at, range.begin}, false);
    if (range.size() > 0) f(range, true);
    at = range.end;
  }
  if (at < n) f(Range{at, n}, false);
}

template <class T>
void step_on_host(Queue& queue, View<> w, View<> m, View<> v, ConstView<> grad, const AdamW::Settings& settings) {
  if (queue.reference(w.dtype()))
    reference::adamw_step(w.as<T>(), m.as<T>(), v.as<T>(), grad.as<T>(), w.size(), settings);
  else if constexpr (std::is_same_v<T, float>)
    cpu::adamw_step(queue, w.as<T>(), m.as<T>(), v.as<T>(), grad.as<T>(), w.size(), settings);
}

}  // namespace

void AdamW::step(Queue& queue, View<> w, View<> working, View<> m, View<> v, ConstView<> grad,
                 std::span<const Range> decayed, const Settings& settings) {
  const DType dtype = expect_float(w, 1, "AdamW w");
  if (working) expect(working, DType::BF16, w.shape(), "AdamW working");
  expect(m, dtype, w.shape(), "AdamW m");
  expect(v, dtype, w.shape(), "AdamW v");
  expect(grad, dtype, w.shape(), "AdamW grad");
  check(settings.step >= 1, fmt::format("AdamW counts steps from 1, found {}", settings.step));
  int64_t at = 0;
  for (const Range& range : decayed) {
    check(range.begin >= at && range.end >= range.begin && range.end <= w.size(),
          fmt::format("AdamW: weights {} to {} cannot decay behind {} of {}", range.begin, range.end, at, w.size()));
    at = range.end;
  }
  const Timed timed(queue, "AdamW step", 0, w, m, v, grad, w, m, v);
  if (queue.device()) return adamw_cuda->step(queue, w, working, m, v, grad, decayed, settings);
  by_float_type(dtype, [&]<class T>() {
    for_runs(decayed, w.size(), [&](Range run, bool decays) {
      Settings of_run = settings;
      if (!decays) of_run.weight_decay = 0;
      const auto part = [&](auto view) { return view.rows(run.begin, run.size()); };
      step_on_host<T>(queue, part(w), part(m), part(v), part(grad), of_run);
    });
    for (int64_t i = 0; working && i < w.size(); ++i) working.as<Bf16>()[i] = Bf16(static_cast<float>(w.as<T>()[i]));
  });
}

}  // namespace memring
