#include "replication/line/line_history.h"

#include <algorithm>

namespace branchline {

bool is_past(const LineHistory& history, LineId line) {
  return std::any_of(history.begin(), history.end(),
                     [&](const PastLine& p) { return p.line == line; });
}

Csn present_base(const LineHistory& history, LineId present, LineId line, Csn base) {
  if (line == present) return base;
  auto at = std::find_if(history.begin(), history.end(),
                         [&](const PastLine& p) { return p.line == line; });
  if (at == history.end()) return Csn(0);
  for (; at != history.end(); ++at) base = std::min(base, at->fork);
  return base;
}

OnPresentLine::OnPresentLine(Mutation& m, const LineHistory& history, LineId present)
    : m_(m), base_(m.base) {
  if (m.line == present) return;
  m.base = present_base(history, present, m.line, m.base);
  for (auto& op : m.ops) {
    seen_.push_back(op.seen);
    op.seen = present_base(history, present, m.line, op.seen);
  }
}

OnPresentLine::~OnPresentLine() {
  m_.base = base_;
  for (size_t i = 0; i < seen_.size(); ++i) m_.ops[i].seen = seen_[i];
}

void put_line_history(Writer& w, const LineHistory& history) {
  w.varint(history.size());
  for (const auto& p : history) {
    w.fixed64(p.line.value);
    w.fixed64(p.fork.value);
  }
}

LineHistory get_line_history(Reader& r) {
  LineHistory out;
  uint64_t count = r.varint_max(r.remaining() / 16);
  for (uint64_t i = 0; i < count && r.ok(); ++i) {
    LineId line(r.fixed64());
    out.push_back({line, Csn(r.fixed64())});
  }
  return out;
}

}  // namespace branchline
