#include "common/store/torn_log.h"

#include <rocksdb/env.h>

#include <algorithm>
#include <boost/crc.hpp>
#include <optional>
#include <string_view>
#include <vector>

#include "common/base/bytes.h"

namespace branchline {
namespace {

constexpr size_t kBlock = 32 * 1024;
constexpr size_t kHeader = 4 + 2 + 1;  // checksum, length, type
constexpr size_t kPage = 4096;
// Fewer zeros at the end of a page may be a record's own.
constexpr size_t kMissingZeros = 16;

Error error_of(const rocksdb::Status& status, const std::string& file) {
  return {ErrorKind::unavailable, "store.io", "mending the log " + file + ": " + status.ToString()};
}

uint32_t checksum(std::string_view bytes) {
  boost::crc_optimal<32, 0x1EDC6F41, 0xFFFFFFFF, 0xFFFFFFFF, true, true> crc;  // CRC-32C
  crc.process_bytes(bytes.data(), bytes.size());
  uint32_t c = crc.checksum();
  return ((c >> 15) | (c << 17)) + 0xa282ead8U;
}

uint64_t little_endian(std::string_view bytes) {
  uint64_t out = 0;
  for (size_t i = bytes.size(); i-- > 0;) out = out << 8 | static_cast<uint8_t>(bytes[i]);
  return out;
}

bool all_zero(std::string_view bytes) {
  return std::all_of(bytes.begin(), bytes.end(), [](char c) { return c == 0; });
}

// Where the first record begins that is not whole; nothing where all are, or the log just ends in
// one, which RocksDB knows from a crash.
std::optional<size_t> first_broken(std::string_view log) {
  for (size_t at = 0; at < log.size();) {
    size_t left = kBlock - at % kBlock;
    if (left < kHeader) {
      at += left;
      continue;
    }
    std::string_view header = log.substr(at, kHeader);
    if (header.size() < kHeader) return std::nullopt;
    size_t length = little_endian(header.substr(4, 2));
    if (all_zero(header) || kHeader + length > left) return at;
    std::string_view record = log.substr(at, kHeader + length);
    if (record.size() < kHeader + length) return std::nullopt;
    if (checksum(record.substr(6)) != little_endian(header.substr(0, 4))) return at;
    at += kHeader + length;
  }
  return std::nullopt;
}

// Whether of the broken record at `at` a page is missing, or the end of one that it began in.
bool page_is_missing(std::string_view log, size_t at) {
  if (all_zero(log.substr(at, kHeader))) return true;
  size_t length = little_endian(log.substr(at + 4, 2));
  size_t end = std::min(log.size(), at + kHeader + length);
  for (size_t page = at; page < end;) {
    size_t next = std::min(log.size(), (page / kPage + 1) * kPage);
    size_t zeros = 0;
    while (zeros < next - page && log[next - 1 - zeros] == 0) ++zeros;
    if (zeros >= kMissingZeros) return true;
    page = next;
  }
  return false;
}

std::optional<std::string> last_log(rocksdb::Env& env, const std::string& directory) {
  std::vector<std::string> children;
  if (!env.GetChildren(directory, &children).ok()) return std::nullopt;  // a new store
  std::optional<std::string> last;
  for (const auto& name : children) {
    std::string_view number(name);
    bool log = number.ends_with(".log");
    if (!log) continue;
    number.remove_suffix(4);
    bool digits = !number.empty() && number.find_first_not_of("0123456789") == number.npos;
    uint64_t bytes = 0;
    if (!digits || !env.GetFileSize(directory + "/" + name, &bytes).ok() || bytes == 0) continue;
    // Of equal length where numbers have six digits; longer ones are later.
    bool later = !last || std::pair(name.size(), name) > std::pair(last->size(), *last);
    if (later) last = name;
  }
  return last;
}

// On the disk before anything else is: a new log would stand behind what seems torn.
rocksdb::Status replace(rocksdb::Env& env, const std::string& directory, const std::string& name,
                        std::string_view content) {
  std::string fresh = directory + "/" + name + ".whole";
  auto s = rocksdb::WriteStringToFile(&env, {content.data(), content.size()}, fresh, true);
  if (s.ok()) s = env.RenameFile(fresh, directory + "/" + name);
  std::unique_ptr<rocksdb::Directory> folder;
  if (s.ok()) s = env.NewDirectory(directory, &folder);
  return s.ok() ? folder->Fsync() : s;
}

Result<uint64_t> cut_torn(rocksdb::Env& env, const std::string& directory,
                          const std::string& name) {
  std::string log, file = directory + "/" + name;
  if (auto s = rocksdb::ReadFileToString(&env, file, &log); !s.ok())
    return std::unexpected(error_of(s, file));
  auto broken = first_broken(log);
  if (!broken || !page_is_missing(log, *broken)) return 0;
  auto whole = std::string_view(log).substr(0, *broken);
  if (auto s = replace(env, directory, name, whole); !s.ok())
    return std::unexpected(error_of(s, file));
  return log.size() - *broken;
}

}  // namespace

Result<uint64_t> cut_torn_log(rocksdb::Env& env, const std::string& directory) {
  auto name = last_log(env, directory);
  if (!name) return 0;
  rocksdb::FileLock* lock = nullptr;
  if (!env.LockFile(directory + "/LOCK", &lock).ok()) return 0;
  auto done = cut_torn(env, directory, *name);
  env.UnlockFile(lock);
  return done;
}

}  // namespace branchline
