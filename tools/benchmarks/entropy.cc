#include "tools/benchmarks/entropy.h"

#include <zstd.h>

#include <string>

#include "tools/benchmarks/data.h"

namespace branchline::bench {

double change_entropy(bool phone) {
  constexpr uint32_t kChanges = 20'000, kRows = 200'000;
  std::string rows, status, notes, times, numbers;
  Dice dice(4);
  for (uint32_t i = 0; i < kChanges; ++i) {
    uint32_t row = dice.below(kRows);
    rows.append(reinterpret_cast<const char*>(&row), 3);
    if (phone) {
      uint32_t number = dice.below(10'000'000);
      numbers.append(reinterpret_cast<const char*>(&number), 3);
      continue;
    }
    Change c = change(dice, i, i);
    status.push_back(static_cast<char>(c.status));
    notes += c.text;
    times.push_back('\1');  // differences
    numbers.push_back('\1');
  }
  std::string all = rows + status + notes + times + numbers;
  std::string out(ZSTD_compressBound(all.size()), 0);
  size_t n = ZSTD_compress(out.data(), out.size(), all.data(), all.size(), 19);
  return static_cast<double>(n) / kChanges;
}

}  // namespace branchline::bench
