// Checkpoints whose manifest or whose file's head was changed by chance, through the paths of resume and inspect: none
// crashes or hangs, none is taken for good, and the one before it is loaded. A few thousand, or a million in the long
// form.
// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <chrono>

#include "base/error.h"
#include "checkpoint/manifest.h"
#include "tests/dist/checkpoint_run.h"
#include "tests/fuzz/fault_log.h"
#include "tests/fuzz/mutate.h"

namespace memring {
namespace {

using test::below;
using test::Chance;

/// HDF5's own structure stands before the tensors and between them.
constexpr size_t kHead = 16384;
constexpr const char* kFound = "no crash, no hang, the checkpoint before it loaded";

class CheckpointMutations : public testing::Test {
 protected:
  void SetUp() override {
    save_generations<float>(world(), folder_.path(), small_layout(), {1, 2});
    manifest_ = text_of(newer_ + "/manifest.json");
    state_ = text_of(newer_ + "/state.h5");
  }
  /// What resuming and inspecting make of the newer checkpoint as it is now; the seconds it took at most are kept.
  void expect_found(const std::string& what, bool forged) {
    const auto start = std::chrono::steady_clock::now();
    std::vector<std::string> warnings;
    try {
      const auto loaded = load_newest(world(), folder_.path(), trained_.data, warnings);
      ASSERT_TRUE(loaded) << what;
      if (!forged) {
        EXPECT_EQ(loaded->step, 1) << what;
        EXPECT_EQ(warnings.size(), 1u) << what;
        EXPECT_EQ(trained_.weights, older_.weights) << what;
        EXPECT_EQ(trained_.v, older_.v) << what;
      }
    } catch (const Error& error) {  // an intact manifest that says it is of a newer format or of another model
      EXPECT_TRUE(forged) << what << ": " << error.what();
      EXPECT_EQ(error.code(), ExitCode::Data) << what << ": " << error.what();
    }
    try {
      read_manifest(newer_);
      const auto faults = verify_checkpoint(newer_);
      EXPECT_TRUE(forged || !faults.empty()) << what << ": taken for intact";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ExitCode::Data) << what << ": " << error.what();
    }
    slowest_ = std::max(slowest_, std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  }
  void finish(const char* fault, int64_t injected, const char* result) {
    EXPECT_LT(slowest_, 10) << "seconds for one checkpoint";
    if (!HasFailure()) test::record_fault("F2", fault, injected, result);
  }

  SharedFolder folder_;
  std::string newer_ = folder_.path() + "/step-000000002", manifest_, state_;
  Trained<float> trained_{world(), small_layout(), 50}, older_{world(), small_layout(), 1};
  double slowest_ = 0;
};

TEST_F(CheckpointMutations, ADamagedManifestIsNeverTaken) {
  Chance chance(1);
  const int64_t count = test::amount(1000, 400'000);
  for (int64_t i = 0; i < count && !HasFatalFailure(); ++i) {
    const std::string damaged = test::mutated(manifest_, chance);
    if (damaged == manifest_) continue;
    write_text(newer_ + "/manifest.json", damaged);
    expect_found(fmt::format("mutation {} of the manifest", i), false);
  }
  finish("mutated manifest", count, kFound);
}

TEST_F(CheckpointMutations, ADamagedHeadOfTheFileIsNeverTaken) {
  Chance chance(2);
  const int64_t count = test::amount(1000, 300'000);
  const size_t head = std::min(kHead, state_.size());
  for (int64_t i = 0; i < count && !HasFatalFailure(); ++i) {
    const std::string damaged = test::mutated(state_.substr(0, head), chance) + state_.substr(head);
    if (damaged == state_) continue;
    write_text(newer_ + "/state.h5", damaged);
    expect_found(fmt::format("mutation {} of the file's head", i), false);
  }
  finish("mutated head of state.h5", count, kFound);
}

// Its digest is right: what follows the first gate must hold on its own.
TEST_F(CheckpointMutations, AForgedManifestIsRefusedOrLoads) {
  Chance chance(3);
  const int64_t count = test::amount(1000, 300'000);
  const std::string body = manifest_.substr(0, manifest_.rfind(",\n \"digest\""));
  for (int64_t i = 0; i < count && !HasFatalFailure(); ++i) {
    write_text(newer_ + "/manifest.json", seal_manifest(test::mutated(body, chance)));
    expect_found(fmt::format("forgery {} of the manifest", i), true);
  }
  finish("mutated manifest with a right digest", count, "no crash, no hang: refused, or consistent and loaded");
}

}  // namespace
}  // namespace memring
