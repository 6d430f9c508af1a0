#include "common/store/store.h"

#include "common/base/bytes.h"
#include "common/base/check.h"

namespace branchline {

const char* table_name(Table table) {
  static const char* const names[kTableCount] = {"meta",   "records", "elements", "index",
                                                 "outbox", "fates",   "line",     "keys"};
  return names[static_cast<size_t>(table)];
}

void Batch::add(Op op, Table table, std::string_view a, std::string_view b) {
  Writer w(rep_);
  w.u8(static_cast<uint8_t>(op));
  w.u8(static_cast<uint8_t>(table));
  w.blob(a);
  w.blob(b);
  ++count_;
}

void Batch::put(Table table, std::string_view key, std::string_view value) {
  add(Op::put, table, key, value);
}
void Batch::erase(Table table, std::string_view key) { add(Op::erase, table, key, {}); }
void Batch::erase_range(Table table, std::string_view begin, std::string_view end) {
  add(Op::erase_range, table, begin, end);
}

void Batch::append(const Batch& other) {
  rep_ += other.rep_;
  count_ += other.count_;
}

void Batch::for_each(
    const std::function<void(Op, Table, std::string_view, std::string_view)>& visit) const {
  Reader r(rep_);
  while (r.remaining() > 0) {
    auto op = static_cast<Op>(r.u8());
    auto table = static_cast<Table>(r.u8());
    std::string_view a = r.blob();
    std::string_view b = r.blob();
    BL_CHECK(r.ok());
    visit(op, table, a, b);
  }
}

std::string prefix_end(std::string_view prefix) {
  std::string end(prefix);
  while (!end.empty() && static_cast<uint8_t>(end.back()) == 0xff) end.pop_back();
  if (!end.empty()) end.back() = static_cast<char>(static_cast<uint8_t>(end.back()) + 1);
  return end;
}

}  // namespace branchline
