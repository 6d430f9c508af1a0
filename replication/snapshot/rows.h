// Rows of records and elements as snapshots and repairs carry them: table (1), blob key without its
// side, blob value.
#pragma once

#include <functional>
#include <string_view>

#include "common/base/bytes.h"
#include "common/base/error.h"
#include "common/store/store.h"

namespace branchline {

using RowVisit =
    std::function<Result<void>(Table table, std::string_view key, std::string_view value)>;

void put_row(Writer& w, Table table, std::string_view key_with_side, std::string_view value);
// Hands out the rows in order; `damaged` where they cannot be read or are of another table, else
// the first error of `visit`.
Result<void> visit_rows(std::string_view rows, const Error& damaged, const RowVisit& visit);

}  // namespace branchline
