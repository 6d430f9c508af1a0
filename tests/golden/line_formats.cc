#include "common/base/limits.h"
#include "replication/line/compress.h"
#include "replication/line/mutation_block.h"
#include "tests/golden/formats.h"
#include "tests/support/samples.h"

namespace branchline::golden {
namespace {

using namespace samples;

std::unexpected<Error> bad(const char* what) {
  return fail(ErrorKind::corrupt, "golden.refused", what);
}

template <typename Put>
std::string bytes_of(Put put) {
  std::string out;
  Writer w(out);
  put(w);
  return out;
}

// The head's first four bytes of the chain are not a whole digest; this has them and zeros.
Digest chain_of(uint32_t check) {
  std::string bytes;
  Writer(bytes).fixed32(check);
  bytes.resize(32);
  return *Digest::from(bytes);
}

Result<std::string> recode_mutation_block(std::string_view in) {
  BL_ASSIGN(auto block, decode_mutation_block(std::string(in)));
  MutationBlockWriter writer;
  // The writer takes a digest per mutation and makes one per run of them; a block of one run keeps
  // what it had.
  for (const auto& m : block.mutations) writer.add(m, 0);
  std::string out = writer.finish(chain_of(block.chain_check));
  BL_ASSIGN(auto again, decode_mutation_block(out));
  // Put the forecasts back: they stand at the end of the tenth column.
  Reader r(out);
  for (int i = 0; i < 9; ++i) r.blob();
  r.varint();
  size_t at = out.size() - r.remaining();
  std::string forecasts;
  for (uint64_t f : block.forecasts) Writer(forecasts).fixed64(f);
  return out.replace(at, forecasts.size(), forecasts);
}

Result<std::string> recode_commit_block(std::string_view in) {
  BL_ASSIGN(auto block, decode_commit_block(std::string(in)));
  if (block.commits.empty()) return bad("an empty block");
  return commit_block(block.commits);
}

// zstd's own frame without its magic, holding `raw` in one last block as it is.
std::string raw_container(std::string_view raw) {
  std::string out;
  Writer w(out);
  w.u8(1);
  w.varint(raw.size());
  w.bytes({"\x00\x38", 2});  // no options, window of 2^17
  auto head = static_cast<uint32_t>(raw.size() << 3 | 1);
  for (int i = 0; i < 3; ++i) w.u8(static_cast<uint8_t>(head >> (8 * i)));
  w.bytes(raw);
  return out;
}

Format container_format() {
  auto recode = [](std::string_view in) -> Result<std::string> {
    BL_ASSIGN(auto raw, decompress(in, limits::kMaxBlockBytes));
    return raw;
  };
  Format f{"container", 1, "docs/formats.md, Container", {}};
  // Short contents are stored as they are. What zstd makes of longer ones may differ from version
  // to version, so the bytes here are its plainest form, which every version reads.
  f.cases.push_back(
      {"zstd", raw_container("sixty-four bytes of text, which is enough to be worth compressing"),
       [recode](std::string_view in) -> Result<std::string> {
         if (!in.starts_with('\1')) return bad("another codec");
         BL_ASSIGN(auto raw, recode(in));
         return raw_container(raw);
       },
       false, true});
  f.cases.push_back({"stored", compress("short"),
                     [recode](std::string_view in) -> Result<std::string> {
                       BL_ASSIGN(auto raw, recode(in));
                       if (!in.starts_with('\0')) return bad("another codec");
                       // Of contents that are worth compressing the writer makes the other kind.
                       return raw.size() < 48 ? compress(raw) : std::string(1, '\0') + raw;
                     },
                     true});
  return f;
}

}  // namespace

std::vector<Format> line_formats() {
  std::vector<Format> all;
  all.push_back({"mutation_block",
                 1,
                 "docs/formats.md, Mutation block",
                 {{"block", mutation_block(), recode_mutation_block}}});
  all.push_back({"commit_block",
                 1,
                 "docs/formats.md, Commit block",
                 {{"block", commit_block(), recode_commit_block},
                  {"moved", commit_block({moving_commit()}), recode_commit_block}}});
  all.push_back(
      {"fate_block",
       1,
       "docs/formats.md, Fates",
       {{"block", encode_fate_block(fates()), [](std::string_view in) -> Result<std::string> {
           BL_ASSIGN(auto fates, decode_fate_block(in));
           return encode_fate_block(fates);
         }}}});
  MutationId first = fates()[2].id;
  all.push_back({"fate_row",
                 1,
                 "docs/formats.md, Fates",
                 {{"overridden", encode_fate_row(fates()[2], "canonical bytes"),
                   [first](std::string_view in) -> Result<std::string> {
                     BL_ASSIGN(auto row, decode_fate_row(first, in));
                     return encode_fate_row(row.entry, row.content);
                   },
                   true}}});
  all.push_back({"batch_header",
                 1,
                 "docs/formats.md, Batch header",
                 {{"header", encode_batch_header(batch_header()),
                   [](std::string_view in) -> Result<std::string> {
                     BL_ASSIGN(auto h, decode_batch_header(in));
                     return encode_batch_header(h);
                   }}}});
  all.push_back({"ledger",
                 1,
                 "docs/formats.md, Ledger and totals",
                 {{"ledger", bytes_of([](Writer& w) { put_ledger(w, ledger()); }),
                   [](std::string_view in) -> Result<std::string> {
                     Reader r(in);
                     Ledger l = get_ledger(r);
                     if (!r.done()) return bad("ledger");
                     return bytes_of([&](Writer& w) { put_ledger(w, l); });
                   }},
                  {"totals", bytes_of([](Writer& w) { put_totals(w, totals()); }),
                   [](std::string_view in) -> Result<std::string> {
                     Reader r(in);
                     Totals t = get_totals(r);
                     if (!r.done()) return bad("totals");
                     return bytes_of([&](Writer& w) { put_totals(w, t); });
                   }}}});
  all.push_back({"incarnation",
                 1,
                 "docs/formats.md, Process start",
                 {{"incarnation", encode_incarnation(incarnation()),
                   [](std::string_view in) -> Result<std::string> {
                     BL_ASSIGN(auto i, decode_incarnation(in));
                     return encode_incarnation(i);
                   }}}});
  all.push_back(container_format());
  return all;
}

}  // namespace branchline::golden
