#include "common/config/mistakes.h"

#include <algorithm>
#include <array>

#include "common/base/bytes.h"
#include "common/base/limits.h"

namespace branchline {
namespace {

constexpr size_t kMaxQuoted = 80;
constexpr size_t kMaxWord = 63;
constexpr size_t kFar = 3;

// Insertions, deletions, replacements and swaps of neighbours between two words of at most kMaxWord
// letters; kFar if it is that or more.
size_t slips(std::string_view a, std::string_view b) {
  if (a.size() > b.size()) std::swap(a, b);
  if (b.size() > kMaxWord || b.size() - a.size() >= kFar) return kFar;
  std::array<size_t, kMaxWord + 1> before{}, last{}, row{};
  for (size_t j = 0; j <= b.size(); ++j) last[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    row[0] = i;
    size_t best = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      row[j] =
          std::min({last[j] + 1, row[j - 1] + 1, last[j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1)});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
        row[j] = std::min(row[j], before[j - 2] + 1);
      }
      best = std::min(best, row[j]);
    }
    if (best >= kFar) return kFar;
    before = last;
    last = row;
  }
  return std::min(last[b.size()], kFar);
}

}  // namespace

bool Mistakes::full() const { return found_.size() >= limits::kMaxTopologyMistakes; }

void Mistakes::add(int line, std::string what) {
  Mistake mistake{line, std::move(what)};
  if (std::find(found_.begin(), found_.end(), mistake) != found_.end()) return;
  if (full()) {
    ++more_;
    return;
  }
  auto behind = std::upper_bound(found_.begin(), found_.end(), line,
                                 [](int at, const Mistake& m) { return at < m.line; });
  found_.insert(behind, std::move(mistake));
}

std::string Mistakes::text() const {
  std::string out;
  auto tell = [&](int line, const std::string& what) {
    if (!out.empty()) out += '\n';
    out += origin_ + ":" + std::to_string(line) + ": " + what;
  };
  for (const auto& m : found_) tell(m.line, m.what);
  if (more_ > 0)
    tell(found_.back().line, std::to_string(more_) + " more mistakes; mend those above first");
  return out;
}

std::string one_line(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    char c = text[i];
    bool inside_character = (static_cast<unsigned char>(c) & 0xC0) == 0x80;
    if (i >= kMaxQuoted && !inside_character) {
      out += "...";
      break;
    }
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) {
      out += "\\x" + hex(text.substr(i, 1));
    } else {
      out += c;
    }
  }
  return out;
}

std::string quoted(std::string_view text) { return "`" + one_line(text) + "`"; }

std::string nearest(std::string_view word, const std::vector<std::string_view>& candidates) {
  // Of a short word two letters are most of it.
  size_t limit = word.size() < 4 ? 2 : kFar;
  std::string_view found;
  for (std::string_view candidate : candidates) {
    size_t distance = slips(word, candidate);
    if (distance >= limit) continue;
    limit = distance;
    found = candidate;
  }
  return std::string(found);
}

}  // namespace branchline
