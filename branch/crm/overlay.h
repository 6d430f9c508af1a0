// A view of the replica with other rows laid over it, in memory: records that head office sent for
// one request, or the base where pending work is put back. Queries read it like any store. Never
// written to disk.
#pragma once

#include <array>
#include <map>
#include <memory>

#include "branch/crm/reader.h"

namespace branchline {

// Immutable once it is shared: then any thread.
class OverlayView : public StoreView {
 public:
  explicit OverlayView(std::shared_ptr<const StoreView> below) : below_(std::move(below)) {}

  void put(Table table, std::string_view key, std::string_view value);
  // As if it were written here.
  void lay(const Batch& batch);

  Result<std::optional<std::string>> get(Table table, std::string_view key) const override;
  std::unique_ptr<Cursor> scan(Table table, std::string_view begin,
                               std::string_view end) const override;
  std::unique_ptr<Cursor> scan_back(Table table, std::string_view begin,
                                    std::string_view end) const override;

 private:
  using Rows = std::map<std::string, std::optional<std::string>, std::less<>>;  // nothing: erased
  std::unique_ptr<Cursor> walk(Table table, std::string_view begin, std::string_view end,
                               bool back) const;
  std::shared_ptr<const StoreView> below_;
  std::array<Rows, kTableCount> rows_;
};

// What an upstream sent (LookupAnswer::rows) over `view`. Records that are here in any state stay
// as they are here: this office's own pending work is part of what its people see. `corrupt` for
// rows that are none.
Result<std::shared_ptr<const StoreView>> lay_upstream(std::shared_ptr<const StoreView> view,
                                                      const Schema& schema, keys::Side side,
                                                      std::string_view container);

// The base: what the main line says, as of `csn`, without this office's pending work.
struct Committed {
  std::shared_ptr<const StoreView> view;
  keys::Side side = 0;
  Csn csn;
};
// `unavailable` "committed.pending" where more is pending than is put back for one request.
Result<Committed> lay_committed(std::shared_ptr<const StoreView> view,
                                std::shared_ptr<const Schema> schema);

}  // namespace branchline
