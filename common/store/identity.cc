#include "common/store/identity.h"

#include <charconv>

#include "common/store/keyspace.h"

namespace branchline {
namespace {

constexpr std::string_view kProduct = "branchline";

std::string_view to_string(StoreRole role) {
  return role == StoreRole::master ? "master" : "branch";
}

struct Identity {
  std::string_view role;
  uint32_t format = 0;
};

// "branchline", role, number: one space between them and nothing else.
std::optional<Identity> parse(std::string_view row) {
  size_t first = row.find(' ');
  size_t second = first == row.npos ? row.npos : row.find(' ', first + 1);
  if (second == row.npos || row.substr(0, first) != kProduct) return std::nullopt;
  Identity id;
  id.role = row.substr(first + 1, second - first - 1);
  std::string_view number = row.substr(second + 1);
  auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), id.format);
  if (error != std::errc() || end != number.data() + number.size()) return std::nullopt;
  return id;
}

}  // namespace

std::string store_identity(StoreRole role) {
  return std::string(kProduct) + " " + std::string(to_string(role)) + " " +
         std::to_string(kStoreFormat);
}

Result<void> check_store_identity(const StoreView& store, StoreRole role, std::string_view where) {
  std::string name(where);
  BL_ASSIGN(auto row, store.get(Table::meta, keys::meta_identity()));
  if (!row) {
    BL_ASSIGN(auto state, store.get(Table::meta, keys::meta_state()));
    if (!state) return {};
    return fail(ErrorKind::corrupt, "store.identity",
                name +
                    " holds data but does not say in which format: it is damaged; restore it from "
                    "a backup");
  }
  auto id = parse(*row);
  if (!id) {
    return fail(ErrorKind::corrupt, "store.identity",
                name +
                    " does not say whose data it holds: its identity row is damaged; restore it "
                    "from a backup");
  }
  if (id->role != to_string(role)) {
    return fail(ErrorKind::invalid, "store.other_role",
                name + " holds the data of a " + std::string(id->role) + " server, this is a " +
                    std::string(to_string(role)) + "; give it its own --data directory");
  }
  std::string reads =
      kOldestStoreFormat == kStoreFormat
          ? "format " + std::to_string(kStoreFormat)
          : "formats " + std::to_string(kOldestStoreFormat) + " to " + std::to_string(kStoreFormat);
  if (id->format > kStoreFormat) {
    return fail(ErrorKind::invalid, "store.newer_format",
                name + " is written in store format " + std::to_string(id->format) +
                    ", this program reads " + reads +
                    ": start the newer version of Branchline that wrote it (nothing was changed)");
  }
  if (id->format < kOldestStoreFormat) {
    return fail(ErrorKind::invalid, "store.older_format",
                name + " is written in store format " + std::to_string(id->format) +
                    ", this program reads " + reads +
                    ": start a version in between first, which converts it (nothing was changed)");
  }
  return {};
}

}  // namespace branchline
