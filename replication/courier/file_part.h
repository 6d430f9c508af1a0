// A file that stands in for the link: parts, each sealed by itself, so that neither end ever holds
// more than one. docs/formats.md, "Files".
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "replication/session/greeting.h"
#include "replication/wire/feed_frame.h"

namespace branchline {

enum class FileKind : uint8_t {
  pending = 1,  // of an office, for its upstream
  feed = 2,     // of the upstream, for an office
};
std::string_view to_string(FileKind kind);

// Which part of which file, and between whom.
struct FileHead {
  FileKind kind = FileKind::pending;
  std::string from, to;  // servers
  LineId line;
  std::string file;   // 16 bytes, the same in all parts
  uint32_t part = 0;  // from 0
  bool last = false;
  // Of a feed: for whom, cut by which territories (without the reference territory), and how much
  // of the line this part completes.
  OriginId origin;
  std::vector<TerritoryId> territories;
  Csn begin, end;
  Digest begin_chain;  // of the line up to `begin`: it is of the history that the receiver has
};

// A part in the clear: what is signed and encrypted.
struct FilePart {
  FileHead head;
  // Pending: what the office would say in a greeting (its server is head.from), and mutation
  // blocks in the order in which they would be shipped.
  std::optional<Introduction> introduction;
  std::vector<std::string> blocks;
  // Feed.
  std::vector<FeedRange> ranges;
};
std::string encode_file_part(const FilePart& part, int64_t wall_ms);
// `invalid` "file.malformed", "file.newer" for a kind or frame that this version does not know.
Result<FilePart> decode_file_part(std::string_view bytes);

// A sealed part as it stands in a file: what may be known without the key, and the CMS.
struct SealedPart {
  FileKind kind = FileKind::pending;
  std::string from, to;
  std::string cms;
};
// With its length before and its hash behind it.
std::string frame_sealed_part(const SealedPart& part);
// Exactly one. `corrupt` "file.damaged" where the hash says that it is not as it was written,
// "file.truncated" where it ends early; `invalid` "file.newer", "file.malformed".
Result<SealedPart> read_sealed_part(std::string_view framed);
// How many bytes the part at the beginning of `bytes` has, with length and hash, from the first 10
// bytes; 0 for the end of the file. Errors: as read_sealed_part().
Result<size_t> framed_size(std::string_view bytes);

// What a file begins and ends with.
std::string file_begin();
inline constexpr size_t kFileBeginBytes = 11;
inline constexpr char kFileEnd = 0;
// `invalid` "file.other" where it is no such file, "file.newer" of a later version.
Result<void> check_file_begin(std::string_view bytes);

// What the content says of itself must be what its envelope and its signature say: else somebody
// put an old letter into a new envelope. Errors: denied "file.signer", "file.envelope".
Result<void> check_envelope(const SealedPart& envelope, const FilePart& part,
                            std::string_view signer);

}  // namespace branchline
