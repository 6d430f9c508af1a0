#include "tools/benchmarks/entropy.h"

#include <zstd.h>

#include <boost/json.hpp>
#include <map>
#include <string>

#include "tools/benchmarks/data.h"

namespace branchline::bench {
namespace {

double smallest(const std::string& all, uint32_t count) {
  std::string out(ZSTD_compressBound(all.size()), 0);
  return static_cast<double>(ZSTD_compress(out.data(), out.size(), all.data(), all.size(), 19)) /
         count;
}

}  // namespace

double contact_entropy() {
  constexpr uint32_t kContacts = 20'000;
  Dice dice(2);
  std::map<std::string, std::string> columns;
  std::string body;
  for (uint32_t i = 0; i < kContacts; ++i) {
    body.clear();
    append_contact(body, dice);
    for (const auto& member : boost::json::parse(body).as_object())
      columns[member.key()] += boost::json::serialize(member.value()) + "\n";
  }
  std::string all;
  for (const auto& [name, values] : columns) all += values;
  return smallest(all, kContacts);
}

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
  return smallest(rows + status + notes + times + numbers, kChanges);
}

}  // namespace branchline::bench
