#include "master/ingest/retention.h"

#include <algorithm>

#include "common/base/hash.h"
#include "common/base/limits.h"
#include "common/base/probe.h"
#include "master/ingest/ingest_impl.h"

namespace branchline {
namespace {

constexpr uint8_t kFormat = 1;
// A pass takes no more than this: ingest waits meanwhile.
constexpr size_t kMostTrimmedBytes = 2 * 1024 * 1024;
constexpr uint64_t kMostTrimmedBatches = 256;

Error corrupt(const char* what) {
  return {ErrorKind::corrupt, "master.state", std::string("the row of ") + what + " is damaged"};
}

}  // namespace

std::string encode_trim_state(const TrimState& s) {
  std::string out;
  Writer w(out);
  w.u8(kFormat);
  w.fixed64(s.csn.value);
  w.bytes(s.chain.view());
  w.fixed64(static_cast<uint64_t>(s.elements));
  w.varint(s.batches);
  return out;
}

Result<TrimState> decode_trim_state(std::string_view bytes) {
  Reader r(bytes);
  TrimState s;
  uint8_t format = r.u8();
  s.csn = Csn(r.fixed64());
  s.chain = Digest::from(r.bytes(32)).value_or(Digest{});
  s.elements = static_cast<int64_t>(r.fixed64());
  s.batches = r.varint();
  if (!r.done() || format != kFormat) return std::unexpected(corrupt("where the line was trimmed"));
  return s;
}

Result<TrimState> read_trim(const StoreView& store) {
  BL_ASSIGN(auto row, store.get(Table::meta, keys::meta_trim()));
  if (!row) return TrimState{};
  return decode_trim_state(*row);
}

Digest trimmed_fate_chain(const Digest& before, const FateEntry& run, uint32_t index) {
  FateEntry one = run;
  one.id.seq = Seq(run.id.seq.value + index);
  one.csn = Csn(run.csn.value + index);
  one.count = 1;
  std::string bytes(before.view());
  bytes += keys::fate(one.id);
  bytes += encode_fate_row(one, {});
  return sha256(bytes);
}

bool BranchProgress::speaks_for(TerritoryId t, Csn base) const {
  if (std::find(installed.begin(), installed.end(), t) != installed.end()) return true;
  return std::any_of(former.begin(), former.end(),
                     [&](const auto& f) { return f.first == t && base <= f.second; });
}

void BranchProgress::grant(const std::vector<TerritoryId>& territories) {
  granted.insert(granted.end(), territories.begin(), territories.end());
  std::sort(granted.begin(), granted.end());
  granted.erase(std::unique(granted.begin(), granted.end()), granted.end());
}

void BranchProgress::held(const std::vector<TerritoryId>& territories, Csn at) {
  for (TerritoryId t : territories) {
    bool said_before = speaks_for(t, at);
    if (said_before || !std::binary_search(granted.begin(), granted.end(), t)) continue;
    std::erase_if(former, [&](const auto& f) { return f.first == t; });
    former.emplace_back(t, at);
  }
}

void BranchProgress::install(std::vector<TerritoryId> territories, Csn at) {
  std::erase_if(territories, [&](TerritoryId t) {
    return !std::binary_search(granted.begin(), granted.end(), t);
  });
  std::sort(territories.begin(), territories.end());
  for (TerritoryId t : installed) {
    if (!std::binary_search(territories.begin(), territories.end(), t)) former.emplace_back(t, at);
  }
  std::erase_if(former, [&](const auto& f) {
    return std::binary_search(territories.begin(), territories.end(), f.first);
  });
  installed = std::move(territories);
}

std::string encode_branch_progress(const BranchProgress& p) {
  std::string out;
  Writer w(out);
  w.u8(kFormat);
  w.fixed64(p.passed.value);
  w.fixed64(static_cast<uint64_t>(p.heard_ms));
  w.fixed64(p.lapsed_at.value);
  w.fixed64(p.seeded_after.value);
  w.varint(p.pending);
  w.varint(p.pending_bytes);
  w.fixed64(static_cast<uint64_t>(p.oldest_ms));
  w.varint(p.installed.size());
  for (auto t : p.installed) w.varint(t.value);
  w.varint(p.former.size());
  for (const auto& [t, until] : p.former) {
    w.varint(t.value);
    w.varint(until.value);
  }
  w.varint(p.granted.size());
  for (auto t : p.granted) w.varint(t.value);
  return out;
}

Result<BranchProgress> decode_branch_progress(std::string_view bytes) {
  Reader r(bytes);
  BranchProgress p;
  uint8_t format = r.u8();
  p.passed = Csn(r.fixed64());
  p.heard_ms = static_cast<int64_t>(r.fixed64());
  p.lapsed_at = Csn(r.fixed64());
  p.seeded_after = Csn(r.fixed64());
  p.pending = r.varint();
  p.pending_bytes = r.varint();
  p.oldest_ms = static_cast<int64_t>(r.fixed64());
  p.installed.resize(r.varint_max(r.remaining()));
  for (auto& t : p.installed) t = TerritoryId(static_cast<uint32_t>(r.varint_max(0xffffffff)));
  p.former.resize(r.varint_max(r.remaining()));
  for (auto& [t, until] : p.former) {
    t = TerritoryId(static_cast<uint32_t>(r.varint_max(0xffffffff)));
    until = Csn(r.varint());
  }
  p.granted.resize(r.varint_max(r.remaining()));
  for (auto& t : p.granted) t = TerritoryId(static_cast<uint32_t>(r.varint_max(0xffffffff)));
  if (!r.done() || format != kFormat) return std::unexpected(corrupt("a branch's progress"));
  return p;
}

const TrimState& Ingest::trimmed() const { return impl_->trim; }
const std::map<OriginId, BranchProgress>& Ingest::branches() const { return impl_->branches; }

Result<RetentionResult> Ingest::retain(const RetentionInput& input, Batch& rows) {
  Impl& s = *impl_;
  RetentionResult out;
  std::set<OriginId> changed;
  for (const auto& news : input.connected) {
    auto at = s.branches.find(news.origin);
    if (at == s.branches.end()) continue;
    BranchProgress& p = at->second;
    p.passed = std::max(p.passed, news.passed);
    // Seeded anew, it is live: what comes from now on is kept for it, however long this link lasts.
    if (p.passed >= p.lapsed_at) p.lapsed_at = Csn(0);
    p.heard_ms = input.now_ms;
    p.pending = news.pending;
    p.pending_bytes = news.pending_bytes;
    p.oldest_ms = news.pending == 0 ? 0 : input.now_ms - news.oldest_pending_ms;
    changed.insert(news.origin);
  }
  Csn bound = input.floor;
  for (auto& [origin, p] : s.branches) {
    const ServerEntry* server = s.directory.server(origin);
    if (!server || server->removed) continue;
    bool away = input.now_ms - p.heard_ms > input.max_offline_ms;
    if (p.lapsed_at.value == 0 && away && input.may_lapse) {
      BL_PROBE("retention.lapsed");
      p.lapsed_at = s.state.head;
      out.lapsed.push_back(origin);
      changed.insert(origin);
    }
    if (p.lapsed_at.value == 0) bound = std::min(bound, p.passed);
  }
  for (OriginId origin : changed)
    rows.put(Table::meta, keys::meta_branch(origin), encode_branch_progress(s.branches.at(origin)));
  // What branches have that this master lacks may rest on all that is still here.
  if (s.reconciling.open() || bound <= s.trim.csn) return out;
  BL_TRY(s.trim_line(bound, rows, out));
  return out;
}

Result<void> Ingest::Impl::trim_line(Csn through, Batch& rows, RetentionResult& out) {
  TrimState next = trim;
  std::map<Stream, Digest> chains;
  size_t bytes = 0;
  auto row_of = [&](const std::string& key) -> Result<std::string> {
    BL_ASSIGN(auto stored, store.get(Table::line, key));
    if (!stored) return fail(ErrorKind::corrupt, "line.gap", "a row of the main line is missing");
    bytes += stored->size();
    return decompress(*stored, limits::kMaxBlockBytes * 4);
  };
  // The last batch stays in any case: it is what says where the line ends.
  while (next.csn < through) {
    if (bytes >= kMostTrimmedBytes || out.trimmed >= kMostTrimmedBatches) {
      out.more = true;
      break;
    }
    auto cursor = store.scan(Table::line, keys::line_prefix(next.csn.next()), {});
    if (auto e = cursor->error()) return std::unexpected(*e);
    if (!cursor->valid()) break;
    BL_ASSIGN(auto header, decode_batch_header(cursor->value()));
    if (header.to > through || header.to >= state.head) break;
    std::set<std::tuple<Csn, RecordKey, FieldId, ElementKey>> seen;  // once per territory
    for (const auto& row : header.rows) {
      const BlockTag& tag = row.tag;
      if (row.kind == uint8_t(keys::LineRow::effects)) {
        BL_ASSIGN(auto raw,
                  row_of(keys::line_effects(header.to, tag.territory, tag.origin, tag.echo)));
        BL_ASSIGN(auto block, decode_commit_block(std::move(raw)));
        for (const auto& c : block.commits) {
          for (const auto& op : c.effects) {
            for (const auto& cell : op.cells) {
              bool put = cell.kind == CellOpKind::put_element;
              if (!put && cell.kind != CellOpKind::remove_element) continue;
              if (seen.emplace(c.csn, op.record, cell.field, cell.key).second)
                next.elements += put ? 1 : -1;
            }
          }
        }
      }
      if (row.kind == uint8_t(keys::LineRow::fates)) {
        BL_ASSIGN(auto raw, row_of(keys::line_fates(header.to, tag.origin)));
        BL_ASSIGN(auto fates, decode_fate_block(raw));
        for (const auto& f : fates) {
          Stream stream = stream_of(f.id);
          auto at = chains.find(stream);
          if (at == chains.end()) {
            BL_ASSIGN(auto stored, store.get(Table::meta, keys::meta_trimmed_fates(stream)));
            Digest before = stored ? Digest::from(*stored).value_or(Digest{}) : Digest{};
            at = chains.emplace(stream, before).first;
          }
          for (uint32_t k = 0; k < f.count; ++k) at->second = trimmed_fate_chain(at->second, f, k);
        }
      }
    }
    next.csn = header.to;
    next.chain = header.chain;
    ++next.batches;
    ++out.trimmed;
  }
  if (out.trimmed == 0) return {};
  BL_PROBE("retention.trimmed");
  rows.erase_range(Table::line, keys::line_prefix(trim.csn.next()),
                   keys::line_prefix(next.csn.next()));
  for (const auto& [stream, chain] : chains)
    rows.put(Table::meta, keys::meta_trimmed_fates(stream), chain.view());
  rows.put(Table::meta, keys::meta_trim(), encode_trim_state(next));
  trim = next;
  return {};
}

}  // namespace branchline
