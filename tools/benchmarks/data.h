// What the benchmarks write: 200,000 contacts and changes to them, from a seed and a vocabulary
// that is fixed here, so that bytes and times of two versions compare.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace branchline::bench {

// xorshift64*: the same on every machine.
class Dice {
 public:
  explicit Dice(uint64_t seed) : state_(seed * 0x9E3779B97F4A7C15ull + 0x1234567) {}
  uint64_t next();
  uint32_t below(uint32_t n) { return static_cast<uint32_t>((next() >> 33) % n); }
  template <size_t N>
  std::string_view pick(const std::string_view (&list)[N]) {
    return list[below(N)];
  }

 private:
  uint64_t state_;
};

std::string phone_number(Dice& dice);
// 100 bytes of what people note down, about 40 bits of news.
std::string note(Dice& dice);
std::string instant(int64_t unix_ms);

// Bodies of requests, appended to `out`.
void append_contact(std::string& out, Dice& dice);
// The change of 4 fields: status, a note of 100 bytes, an instant, a number that grows.
struct Change {
  uint32_t status = 1;
  std::string text;
  int64_t at_ms = 0;
  uint64_t number = 0;
};
Change change(Dice& dice, int64_t now_ms, uint64_t number);
void append_change(std::string& out, const Change& change);
void append_phone_edit(std::string& out, Dice& dice);

}  // namespace branchline::bench
