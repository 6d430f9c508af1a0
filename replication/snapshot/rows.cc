#include "replication/snapshot/rows.h"

namespace branchline {

void put_row(Writer& w, Table table, std::string_view key_with_side, std::string_view value) {
  w.u8(static_cast<uint8_t>(table));
  w.blob(key_with_side.substr(1));
  w.blob(value);
}

Result<void> visit_rows(std::string_view rows, const Error& damaged, const RowVisit& visit) {
  Reader in(rows);
  while (in.ok() && in.remaining() > 0) {
    uint8_t table = in.u8();
    std::string_view key = in.blob();
    std::string_view value = in.blob();
    bool known = table == static_cast<uint8_t>(Table::records) ||
                 table == static_cast<uint8_t>(Table::elements);
    if (!in.ok() || !known) return std::unexpected(damaged);
    BL_TRY(visit(static_cast<Table>(table), key, value));
  }
  return {};
}

}  // namespace branchline
