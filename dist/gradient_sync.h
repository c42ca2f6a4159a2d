// Gradient synchronisation over the whole world (data x segment x token): the three exchanges of an optimizer step.
// Each rank owns one contiguous shard of the flat parameter buffer and its optimizer state (ZeRO-1, Rajbhandari et
// al. 2020).
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <span>
#include <vector>

#include "base/diagnostics.h"
#include "dist/mesh.h"
#include "kernels/norm/norm.h"

namespace memring {

/// What every rank contributes to a step and learns of it. Flags are combined by "any rank".
struct StepSums {
  double nll = 0;           ///< what is trained: sum over counted targets
  double text_nll = 0;      ///< the same of the text alone, without what a base teaches of it
  double targets = 0;       ///< how many
  double tokens = 0;        ///< text tokens processed
  bool stop = false;        ///< asked to stop (signal, time)
  bool save = false;        ///< asked to save
  bool time_over = false;   ///< run.time has passed
  Diagnostics diagnostics;  ///< declared alike on every rank
};

struct ReducedStep {
  StepSums sums;                                  ///< over the world, in rank order: the same on every rank
  double loss() const { return mean(sums.nll); }  ///< over counted targets
  double text_loss() const { return mean(sums.text_nll); }
  double norm = 0;     ///< of the mean gradient (sum of gradients / targets); 0 without targets
  bool finite = true;  ///< gradient norm and loss are numbers

 private:
  double mean(double sum) const { return sums.targets > 0 ? sum / sums.targets : 0; }
};

class GradientSync {
 public:
  enum class Order : uint8_t { OfRanks, None };
  /// `parameters`: elements of the flat buffer. Order::None: what comes of exact sums has the same bits however many
  /// ranks there are, the norm included. `bucket`: of start(). The mesh must outlive this.
  GradientSync(Mesh&, int64_t parameters, Order = Order::OfRanks, int64_t bucket = kBucket);
  Range shard() const;  ///< of the flat buffer: this rank's parameters
  /// What the exchanges of so many parameters take where those are on a device: messages that are staged on the host
  /// (all buckets, and then all weights), and the norm.
  static SpaceBytes bytes_beside_device(int64_t parameters, DType, int ranks, int64_t bucket = kBucket);
  /// Near-equal shards that start at multiples of kAlignment elements (of kNormBlock, with Order::None): rank r owns
  /// [bounds[r], bounds[r + 1]).
  std::span<const int64_t> bounds() const { return bounds_; }
  static constexpr int64_t kAlignment = 16, kNormBlock = 1024;

  /// Lets the sums of a range start on their way while the step goes on: nothing adds to them any more. They travel one
  /// bucket of at least `bucket` elements after another, the rest with reduce(). A range lies right in front of the one
  /// before it; all ranks start the same ones of a step in the same order (Verb::Reduce). The sums keep their bits.
  void start(Queue&, View<> sums, Range range);
  void progress() { transport_.progress(); }   ///< lets what has started go on
  static constexpr int64_t kBucket = 1 << 20;  ///< elements

  /// (1) Sums of gradients [parameters] (fp32, fp64 or exact) to their shards together with the step's sums and flags,
  /// (2) the global norm. Afterwards this rank's shard of `gradients`, which may be `sums` itself, holds the sum over
  /// ranks; the rest of both is undefined. `ask` tells this rank's when the device, where there is one, has come as
  /// far: here the host waits for it, once a step. (Where the transport is a staged one of several ranks, it waits
  /// besides in each exchange: in start() for every full bucket, here for the rest, and in gather().)
  ReducedStep reduce(Queue&, View<> sums, View<> gradients, const std::function<StepSums()>& ask);
  /// (3) Updated weights [parameters] of every shard to every rank.
  void gather(Queue&, View<> weights);

 private:
  void send(Queue&, View<> sums, Range);
  void reduce_all(Queue&, View<> sums);
  /// Of the shard: one number, or, in no order of ranks, one for each block.
  std::vector<double> squared_norms(Queue&, ConstView<> shard);
  double sum_over_ranks(Queue&, std::vector<double> of_shard);

  Communicator& world_;
  Transport& transport_;
  Order order_;
  std::vector<int64_t> bounds_;
  int64_t bucket_;
  // Of the step.
  Range started_;                    ///< what has been started, but for the last, open bucket
  Range open_;                       ///< bucket that is not yet full
  std::vector<Transfer> under_way_;  ///< of full buckets
  SquaredNormReader norm_;
};

}  // namespace memring
