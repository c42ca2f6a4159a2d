// The decoder once more, over a whole sequence at once in plain double loops, with any mask: what segments and memories
// are tested against that only save work. It shares no code with what it tests.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>
#include <functional>
#include <string>
#include <vector>

#include "base/ids.h"
#include "config/config.h"

namespace memring {

class DenseLlama {
 public:
  using Visible = std::function<bool(int64_t query, int64_t key)>;
  DenseLlama(const Config& config, const FlatBuffer& layout) : m_(config.model), layout_(layout) {}

  /// Sum of the losses of the counted targets of one sequence. weights [layout.size]
  double nll(const std::vector<double>& weights, const std::vector<int32_t>& tokens,
             const std::vector<int32_t>& targets, const Visible& visible) const {
    Matrix x;
    const double* const embedding = tensor(weights, "model.embed_tokens.weight");
    for (const int32_t token : tokens) x.emplace_back(embedding + token * m_.dim, embedding + (token + 1) * m_.dim);
    for (int l = 0; l < m_.layers; ++l) {
      const auto of = [&](const char* name) {
        return tensor(weights, "model.layers." + std::to_string(l) + "." + name + ".weight");
      };
      const Matrix h = norm(x, of("input_layernorm"));
      const Matrix q = rotated(product(h, of("self_attn.q_proj"), m_.heads * m_.head_dim));
      const Matrix k = rotated(product(h, of("self_attn.k_proj"), m_.kv_heads * m_.head_dim));
      const Matrix v = product(h, of("self_attn.v_proj"), m_.kv_heads * m_.head_dim);
      add(x, product(attention(q, k, v, visible), of("self_attn.o_proj"), m_.dim));
      const Matrix g = norm(x, of("post_attention_layernorm")), up = product(g, of("mlp.up_proj"), m_.ffn);
      Matrix gate = product(g, of("mlp.gate_proj"), m_.ffn);
      for (size_t t = 0; t < gate.size(); ++t)
        for (size_t i = 0; i < gate[t].size(); ++i) gate[t][i] *= up[t][i] / (1 + std::exp(-gate[t][i]));
      add(x, product(gate, of("mlp.down_proj"), m_.dim));
    }
    const Matrix logits = product(norm(x, tensor(weights, "model.norm.weight")),
                                  m_.tied ? embedding : tensor(weights, "lm_head.weight"), m_.vocab);
    double sum = 0;
    for (size_t t = 0; t < targets.size(); ++t) {
      if (targets[t] == kIgnoredTarget) continue;
      double all = 0;
      for (const double logit : logits[t]) all += std::exp(logit);
      sum += std::log(all) - logits[t][static_cast<size_t>(targets[t])];
    }
    return sum;
  }

 private:
  using Matrix = std::vector<std::vector<double>>;  // [tokens, width]

  const double* tensor(const std::vector<double>& weights, const std::string& name) const {
    for (const FlatEntry& entry : layout_.entries)
      if (entry.name == name) return weights.data() + entry.offset;
    throw std::out_of_range(name);
  }
  /// x w^T, w [out, in]
  static Matrix product(const Matrix& x, const double* w, int64_t out) {
    Matrix y(x.size(), std::vector<double>(static_cast<size_t>(out)));
    for (size_t t = 0; t < x.size(); ++t) {
      const double* row = w;
      for (double& sum : y[t])
        for (const double value : x[t]) sum += value * *row++;
    }
    return y;
  }
  Matrix norm(Matrix x, const double* gain) const {
    for (auto& row : x) {
      double squares = 0;
      for (const double value : row) squares += value * value;
      const double inverse = 1 / std::sqrt(squares / static_cast<double>(row.size()) + m_.norm_eps);
      for (size_t i = 0; i < row.size(); ++i) row[i] *= inverse * gain[i];
    }
    return x;
  }
  /// Token t stands at position t; the halves of a head's dimensions are the pairs.
  Matrix rotated(Matrix x) const {
    const auto width = static_cast<size_t>(m_.head_dim), half = width / 2;
    for (size_t t = 0; t < x.size(); ++t)
      for (size_t head = 0; head < x[t].size(); head += width)
        for (size_t i = 0; i < half; ++i) {
          const double angle =
              static_cast<double>(t) * std::pow(m_.rope_theta, -static_cast<double>(i) / static_cast<double>(half));
          double &a = x[t][head + i], &b = x[t][head + half + i];
          const double turned = a * std::cos(angle) - b * std::sin(angle);
          b = b * std::cos(angle) + a * std::sin(angle);
          a = turned;
        }
    return x;
  }
  Matrix attention(const Matrix& q, const Matrix& k, const Matrix& v, const Visible& visible) const {
    Matrix o(q.size(), std::vector<double>(q.empty() ? 0 : q[0].size()));
    const auto width = static_cast<size_t>(m_.head_dim);
    const auto group = static_cast<size_t>(m_.heads / m_.kv_heads);
    for (size_t t = 0; t < q.size(); ++t)
      for (size_t head = 0; head < static_cast<size_t>(m_.heads); ++head) {
        double sum = 0;
        for (size_t u = 0; u <= t; ++u) {
          if (!visible(static_cast<int64_t>(t), static_cast<int64_t>(u))) continue;
          double score = 0;
          for (size_t i = 0; i < width; ++i) score += q[t][head * width + i] * k[u][head / group * width + i];
          const double p = std::exp(score / std::sqrt(static_cast<double>(width)));
          sum += p;
          for (size_t i = 0; i < width; ++i) o[t][head * width + i] += p * v[u][head / group * width + i];
        }
        for (size_t i = 0; i < width; ++i) o[t][head * width + i] /= sum;
      }
    return o;
  }
  static void add(Matrix& x, const Matrix& y) {
    for (size_t t = 0; t < x.size(); ++t)
      for (size_t i = 0; i < x[t].size(); ++i) x[t][i] += y[t][i];
  }

  ModelConfig m_;
  FlatBuffer layout_;
};

}  // namespace memring
