#include "tests/support/decoded_files.h"

#include <rocksdb/options.h>
#include <rocksdb/sst_file_reader.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <stdexcept>

namespace branchline {
namespace {

using Visit = std::function<void(const std::string&, std::string_view)>;

std::string read_whole(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::string bytes{std::istreambuf_iterator<char>(in), {}};
  if (in.bad()) throw std::runtime_error("cannot read " + path);
  return bytes;
}

void visit_table(const std::string& path, const Visit& visit) {
  rocksdb::SstFileReader reader{rocksdb::Options()};
  auto status = reader.Open(path);
  if (!status.ok()) throw std::runtime_error(path + ": " + status.ToString());
  std::unique_ptr<rocksdb::Iterator> rows(reader.NewIterator(rocksdb::ReadOptions()));
  for (rows->SeekToFirst(); rows->Valid(); rows->Next()) {
    visit(path, rows->key().ToStringView());
    visit(path, rows->value().ToStringView());
  }
  if (!rows->status().ok()) throw std::runtime_error(path + ": " + rows->status().ToString());
}

// Blocks of 32 KiB; fragments with a header of checksum (4), length (2, little-endian) and type (1;
// 5 and above have four bytes of log number more): full, first, middle, last (LevelDB
// doc/log_format.md, RocksDB db/log_format.h).
void visit_log(const std::string& path, const Visit& visit) {
  constexpr size_t kBlock = 32 * 1024;
  std::string bytes = read_whole(path), record;
  for (size_t at = 0; at + 7 <= bytes.size();) {
    size_t left = kBlock - at % kBlock;
    if (left < 7) {
      at += left;
      continue;
    }
    auto byte = [&](size_t i) { return static_cast<unsigned char>(bytes[at + i]); };
    size_t length = byte(4) | byte(5) << 8, type = byte(6);
    size_t header = type >= 5 && type <= 8 ? 11 : 7;
    if (type == 0 || type > 8 || at + header + length > bytes.size())
      break;  // preallocated, or a torn tail
    record.append(bytes, at + header, length);
    at += header + length;
    bool last = type == 1 || type == 4 || type == 5 || type == 8;
    if (!last) continue;
    visit(path, record);
    record.clear();
  }
  if (!record.empty()) visit(path, record);
}

}  // namespace

void for_each_decoded(const std::string& data_directory, const Visit& visit) {
  for (const auto& entry : std::filesystem::recursive_directory_iterator(data_directory)) {
    if (!entry.is_regular_file()) continue;
    std::string path = entry.path().string(), kind = entry.path().extension().string();
    if (kind == ".sst") {
      visit_table(path, visit);
    } else if (kind == ".log") {
      visit_log(path, visit);
    } else {
      visit(path, read_whole(path));
    }
  }
}

}  // namespace branchline
