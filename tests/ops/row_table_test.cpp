// Tables of rows: what of them lies where, and that a layout which is met again costs no upload.
// SPDX-License-Identifier: Apache-2.0
#include "kernels/common/row_table.h"

#include "base/readback.h"
#include "op_test.h"

namespace memring::test {
namespace {

const std::vector<Row> kRows = {{5, 1, 0, 1}, {9, 2, 0, 2}}, kOthers = {{7, 3, 2, 3}};

std::vector<int32_t> numbers_on_device(const Queue& queue, const RowTable& table) {
  std::vector<int32_t> numbers(static_cast<size_t>(table.device().size()));
  copy_now(queue, View<int32_t>(numbers.data(), table.device().shape()), table.device());
  return numbers;
}

TEST(RowStore, HasRowsOnTheHostAndWhereOperatorsCompute) {
  on_queues(every_queue(), [](Queue& queue) {
    RowStore store;
    const RowTable table = store.add(queue, kRows), others = store.add(queue, kOthers);
    EXPECT_EQ(table.size(), 2);
    EXPECT_TRUE(std::equal(kRows.begin(), kRows.end(), table.host().begin(), table.host().end()));
    EXPECT_EQ(bool(table.device()), queue.device() != nullptr);
    if (!queue.device()) return;
    EXPECT_EQ(numbers_on_device(queue, table), (std::vector<int32_t>{5, 1, 0, 1, 9, 2, 0, 2}));
    EXPECT_EQ(numbers_on_device(queue, others), (std::vector<int32_t>{7, 3, 2, 3}));
  });
}

// Tiles of 64 rows, the last of one; what is cut off a table leaves a tile's extremes as they were.
TEST(RowTable, EachTileHasItsExtremes) {
  std::vector<Row> rows;
  for (int32_t i = 0; i < 65; ++i) rows.push_back({i, 100 - i, -i, 2 * i});
  std::vector<int32_t> numbers(static_cast<size_t>(RowTable::numbers(65)));
  EXPECT_EQ(numbers.size(), 65 * 4 + 2 * 6);
  write_numbers(numbers, rows);
  const RowTable table(rows, View<int32_t>(numbers.data(), {std::ssize(numbers)}));
  const auto extremes = [](const RowTable& t) {
    return std::vector<int32_t>(t.extremes().as<int32_t>(), t.extremes().as<int32_t>() + t.extremes().size());
  };
  EXPECT_EQ(extremes(table), (std::vector<int32_t>{37, 100, -63, 0, 0, 126, 36, 36, -64, -64, 128, 128}));
  EXPECT_EQ(extremes(table.first(10)), (std::vector<int32_t>{37, 100, -63, 0, 0, 126}));
  EXPECT_EQ(table.first(10).device().shape(), (Shape{10, 4}));
}

TEST(RowStore, ALayoutThatIsMetAgainIsUploadedOnce) {
  on_queues(every_queue(), [](Queue& queue) {
    RowStore store;
    const RowTable first = store.add(queue, kRows);
    store.next_layout(queue);
    const RowTable others = store.add(queue, kOthers);
    store.next_layout(queue);
    const RowTable again = store.add(queue, kRows);
    EXPECT_TRUE(std::equal(kRows.begin(), kRows.end(), again.host().begin(), again.host().end()));
    if (!queue.device()) return;
    EXPECT_EQ(again.device().data(), first.device().data());
    EXPECT_NE(again.device().data(), others.device().data());
    EXPECT_EQ(numbers_on_device(queue, first), numbers_on_device(queue, again)) << "it stays as long as the store";
  });
}

}  // namespace
}  // namespace memring::test
