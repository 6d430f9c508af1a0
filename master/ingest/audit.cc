#include "master/ingest/audit.h"

#include <set>
#include <tuple>

#include "common/base/limits.h"
#include "common/store/identity.h"
#include "common/store/keyspace.h"
#include "master/ingest/retention.h"
#include "replication/line/compress.h"
#include "replication/merge/record_audit.h"

namespace branchline {
namespace {

// Fates of one stream as few entries as can be, so that what is equal is written alike however it
// was cut.
std::string joined(const std::vector<FateEntry>& entries) {
  std::vector<FateEntry> out;
  for (const auto& e : entries) {
    FateEntry* last = out.empty() ? nullptr : &out.back();
    bool plain = e.outcomes.empty() && e.clamped.value == 0;
    if (last && plain && last->outcomes.empty() && last->clamped.value == 0 &&
        last->fate == e.fate && last->as_forecast == e.as_forecast &&
        last->id.seq.value + last->count == e.id.seq.value &&
        last->csn.value + last->count == e.csn.value) {
      last->count += e.count;
    } else {
      out.push_back(e);
    }
  }
  std::string bytes;
  Writer w(bytes);
  for (const auto& e : out) {
    w.blob(keys::fate(e.id));
    w.blob(encode_fate_row(e, {}));
  }
  return bytes;
}

struct Auditor {
  const StoreView& view;
  const Schema& schema;
  MasterState state;
  TrimState trim;
  AuditReport report;
  // By stream; of the trimmed part of the line as the kept fates have it, once they are found to be
  // what the line said.
  std::map<Stream, std::vector<FateEntry>> line_fates;
  std::map<std::pair<OriginId, Incarnation>, IncarnationInfo> incarnations;
  std::set<std::string> row_keys;
  std::map<Stream, std::map<Seq, Seq>> lost;  // first -> last, entered by an operator
  std::map<OriginId, uint64_t> lost_in_gaps;
  // Elements that the line put and did not remove: those of deleted records are in no checksum.
  int64_t elements_due = 0;
  std::set<std::tuple<Csn, RecordKey, FieldId, ElementKey>>
      elements_of_batch;  // a commit stands once per territory

  void problem_at(Csn csn, const std::string& what) {
    report.problem("main line, batch ending at csn " + std::to_string(csn.value) + ": " + what);
  }

  Result<std::string> row_bytes(const std::string& key, Csn at) {
    row_keys.insert(key);
    BL_ASSIGN(auto stored, view.get(Table::line, key));
    if (!stored) {
      problem_at(at, "a row is missing");
      return std::string();
    }
    auto raw = decompress(*stored, limits::kMaxBlockBytes * 4);
    if (!raw) {
      problem_at(at, raw.error().message);
      return std::string();
    }
    return std::move(*raw);
  }

  void count_elements(const Commit& c) {
    for (const auto& op : c.effects) {
      for (const auto& cell : op.cells) {
        bool put = cell.kind == CellOpKind::put_element;
        if (!put && cell.kind != CellOpKind::remove_element) continue;
        bool first = elements_of_batch.emplace(c.csn, op.record, cell.field, cell.key).second;
        if (first) elements_due += put ? 1 : -1;
      }
    }
  }

  Result<Digest> digest_of(const BatchHeader& header, const BatchHeader::Row& row) {
    Sha256 sha, total;
    bool arrivals = row.kind == uint8_t(keys::LineRow::arrivals);
    if (arrivals || row.kind == uint8_t(keys::LineRow::effects)) {
      const BlockTag& tag = row.tag;
      std::string at =
          arrivals ? keys::line_arrivals(header.to, tag.territory, tag.origin, tag.echo, row.part)
                   : keys::line_effects(header.to, tag.territory, tag.origin, tag.echo);
      BL_ASSIGN(auto raw, row_bytes(at, header.to));
      SaltKey key = salt_epoch_key(state.salt_key, Lane::interactive, header.to.value);
      if (raw.empty()) return Digest{};
      auto block = decode_commit_block(std::move(raw));
      if (!block) {
        problem_at(header.to, block.error().message);
        return Digest{};
      }
      for (const auto& c : block->commits) {
        total.add(commit_digest(sha, key, c).view());
        if (!arrivals) count_elements(c);  // images put nothing that is new
      }
      return total.finish();
    }
    if (row.kind == uint8_t(keys::LineRow::fates)) {
      BL_ASSIGN(auto raw, row_bytes(keys::line_fates(header.to, row.tag.origin), header.to));
      auto fates = decode_fate_block(raw);
      if (!fates) {
        problem_at(header.to, fates.error().message);
        return Digest{};
      }
      for (auto& f : *fates) line_fates[stream_of(f.id)].push_back(std::move(f));
      return sha256(raw);
    }
    BL_ASSIGN(auto raw, row_bytes(keys::line_rejected(header.to), header.to));
    Reader r(raw);
    while (r.ok() && r.remaining() > 0) {
      Reader one(r.blob());
      auto m = get_mutation(one);
      auto info = m ? incarnations.find({m->id.origin, m->id.incarnation}) : incarnations.end();
      if (info == incarnations.end()) {
        problem_at(header.to, "a rejected mutation's content is damaged");
        return Digest{};
      }
      total.add(MutationHasher(info->second.salt_key, m->id.lane).digest(*m).view());
    }
    return total.finish();
  }

  Result<void> walk_line() {
    BL_ASSIGN(auto history, view.get(Table::meta, keys::meta_reconciling()));
    LineId first = state.line;
    if (history) {
      auto reconciling = decode_reconciling(*history);
      if (!reconciling) {
        report.problem(reconciling.error().message);
      } else if (!reconciling->past.empty()) {
        first = reconciling->past.front().line;
      }
    }
    Digest chain = trim.csn.value == 0 ? line_start(first) : trim.chain;
    Csn at = trim.csn;
    elements_due = trim.elements;
    uint64_t rows_seen = 0;
    auto cursor = view.scan(Table::line, {}, {});
    for (; cursor->valid(); cursor->next()) {
      ++rows_seen;
      std::string_view key = cursor->key();
      if (key.size() != 9 || key[8] != 0) continue;  // not a batch header
      auto header = decode_batch_header(cursor->value());
      if (!header) {
        report.problem(header.error().message);
        continue;
      }
      row_keys.insert(std::string(key));
      elements_of_batch.clear();
      if (header->from != at)
        problem_at(header->to, "begins at " + std::to_string(header->from.value) +
                                   ", the one before ended at " + std::to_string(at.value));
      for (const auto& row : header->rows) {
        BL_ASSIGN(Digest digest, digest_of(*header, row));
        if (digest != row.digest)
          problem_at(header->to, "a row's content does not match its digest");
      }
      chain = batch_chain(chain, *header);
      if (chain != header->chain) problem_at(header->to, "the hash chain does not verify");
      chain = header->chain;
      at = header->to;
    }
    if (auto e = cursor->error()) return std::unexpected(*e);
    if (at != state.head || chain != state.chain)
      report.problem("the main line does not end at its head");
    if (rows_seen != row_keys.size())
      report.problem("the main line holds rows that no batch names, or lacks some");
    return {};
  }

  // The trimmed part of the line is gone; what it said of fates is in the chains kept of it, and in
  // the fates, which are kept for ever.
  Result<void> recount_trimmed() {
    std::map<Stream, Digest> chains, counted;
    auto rows = scan_prefix(view, Table::meta, keys::meta_trimmed_fates_prefix());
    for (; rows->valid(); rows->next()) {
      Reader key(rows->key().substr(2));
      Stream s;
      s.origin = OriginId(key.fixed16());
      s.incarnation = Incarnation(key.fixed64());
      s.lane = static_cast<Lane>(key.u8());
      chains[s] = Digest::from(rows->value()).value_or(Digest{});
    }
    if (auto e = rows->error()) return std::unexpected(*e);
    std::map<Stream, std::vector<FateEntry>> trimmed;
    auto fates = view.scan(Table::fates, {}, {});
    for (; fates->valid(); fates->next()) {
      auto id = keys::parse_fate(fates->key());
      if (!id) continue;  // told by check_fates()
      auto row = decode_fate_row(*id, fates->value());
      if (!row || row->entry.csn > trim.csn) continue;
      FateEntry part = row->entry;
      part.count = uint32_t(std::min<uint64_t>(part.count, trim.csn.value - part.csn.value + 1));
      Stream stream = stream_of(*id);
      Digest& chain = counted[stream];
      for (uint32_t k = 0; k < part.count; ++k) chain = trimmed_fate_chain(chain, part, k);
      trimmed[stream].push_back(std::move(part));
    }
    if (auto e = fates->error()) return std::unexpected(*e);
    if (counted != chains) {
      report.problem(
          "the fates kept are not those of the part of the main line that was trimmed "
          "(through csn " +
          std::to_string(trim.csn.value) + ")");
    }
    for (auto& [stream, entries] : line_fates) {
      auto& all = trimmed[stream];
      all.insert(all.end(), entries.begin(), entries.end());
    }
    line_fates = std::move(trimmed);
    return {};
  }

  Result<void> read_lost() {
    auto rows = scan_prefix(view, Table::meta, keys::meta_origin_prefix());
    for (; rows->valid(); rows->next()) {
      auto row = decode_origin_state(rows->value());
      if (!row) continue;  // told of below
      OriginId origin(Reader(rows->key().substr(1)).fixed16());
      for (const auto& gap : row->lost) {
        lost[{origin, gap.incarnation, gap.lane}][gap.first] = gap.last;
        lost_in_gaps[origin] += gap.count();
      }
    }
    return rows->error() ? Result<void>(std::unexpected(*rows->error())) : Result<void>{};
  }

  // What stands as lost in front of `next` needs no fate.
  void pass_lost(FateCoverage& coverage, const Stream& stream, Seq next) {
    auto gaps = lost.find(stream);
    if (gaps == lost.end()) return;
    for (auto [first, last] : gaps->second) {
      if (first < next) coverage.pass(stream, first, last);
    }
  }
  void pass_lost_ends(FateCoverage& coverage) {
    for (const auto& [stream, gaps] : lost) pass_lost(coverage, stream, Seq(UINT64_MAX));
  }

  Result<void> check_fates() {
    BL_TRY(read_lost());
    std::map<OriginId, Ledger> counted;
    std::map<Csn, Csn> covered;  // first -> last
    FateCoverage coverage;
    for (auto& [stream, entries] : line_fates) {
      for (const auto& f : entries) {
        pass_lost(coverage, stream, f.id.seq);
        coverage.add(f, true, report);
        counted[stream.origin].count(f.fate, f.count);
        covered[f.csn] = Csn(f.csn.value + f.count - 1);
      }
    }
    pass_lost_ends(coverage);
    Csn next(1);
    for (const auto& [first, last] : covered) {
      if (first != next)
        report.problem("csn " + std::to_string(next.value) + " has no fate or more than one");
      next = last.next();
    }
    if (next != state.head.next()) report.problem("not every commit has a fate");
    // The permanent rows say the same.
    std::map<Stream, Seq> ends;
    FateCoverage stored;
    std::map<Stream, std::vector<FateEntry>> stored_fates;
    std::map<OriginId, Ledger> stored_counts;
    auto rows = view.scan(Table::fates, {}, {});
    for (; rows->valid(); rows->next()) {
      auto id = keys::parse_fate(rows->key());
      auto row =
          id ? decode_fate_row(*id, rows->value()) : Result<FateRow>(std::unexpected(Error{}));
      if (!row) {
        report.problem("a damaged fate");
        continue;
      }
      pass_lost(stored, stream_of(*id), id->seq);
      stored.add(row->entry, true, report);
      stored_counts[id->origin].count(row->entry.fate, row->entry.count);
      stored_fates[stream_of(*id)].push_back(std::move(row->entry));
    }
    if (auto e = rows->error()) return std::unexpected(*e);
    pass_lost_ends(stored);
    if (stored.ends() != coverage.ends()) report.problem("the fates kept and the main line differ");
    for (const auto& [stream, entries] : line_fates) {
      if (joined(entries) != joined(stored_fates[stream])) {
        report.problem("the fates kept of stream " + to_hex(stream.incarnation.value) +
                       " are not those of the main line");
      }
    }
    auto streams = scan_prefix(view, Table::meta, keys::meta_stream_prefix());
    std::map<Stream, Seq> high;
    for (; streams->valid(); streams->next()) {
      Reader key(streams->key().substr(1));
      Stream s;
      s.origin = OriginId(key.fixed16());
      s.incarnation = Incarnation(key.fixed64());
      s.lane = static_cast<Lane>(key.u8());
      auto row = decode_stream_state(streams->value());
      if (!row) {
        report.problem(row.error().message);
        continue;
      }
      high[s] = row->seq;
      if (!incarnations.count({s.origin, s.incarnation})) {
        report.problem("the process start of stream " + to_hex(s.incarnation.value) +
                       " is not recorded");
      }
      const auto& decided = line_fates[s];
      Csn last =
          decided.empty() ? Csn(0) : Csn(decided.back().csn.value + decided.back().count - 1);
      if (row->last_csn != last) {
        report.problem("stream " + to_hex(s.incarnation.value) + " ends at csn " +
                       std::to_string(last.value) + ", its high-water says " +
                       std::to_string(row->last_csn.value));
      }
    }
    if (high != coverage.ends()) report.problem("high-water marks and the main line differ");
    std::map<OriginId, Ledger> kept;
    auto origins = scan_prefix(view, Table::meta, keys::meta_origin_prefix());
    for (; origins->valid(); origins->next()) {
      auto row = decode_origin_state(origins->value());
      if (!row) {
        report.problem(row.error().message);
        continue;
      }
      OriginId origin(Reader(origins->key().substr(1)).fixed16());
      kept[origin] = row->ledger;
      if (!incarnations.count({origin, row->latest})) {
        report.problem("the last process start of server " + std::to_string(origin.value) +
                       " is not recorded");
      }
    }
    for (const auto& [key, info] : incarnations) {
      if (!kept.count(key.first))
        report.problem("server " + std::to_string(key.first.value) + " has no ledger");
    }
    BL_TRY(check_keys(coverage.ends()));
    BL_TRY(check_programs(kept));
    for (auto& [origin, ledger] : kept) counted[origin];
    for (auto& [origin, ledger] : counted) {
      // Written by an operator only: what was announced by a disk that is written off, and gaps.
      ledger.lost = kept[origin].lost;
      if (ledger.lost < lost_in_gaps[origin])
        report.problem("the ledger of server " + std::to_string(origin.value) +
                       " lacks what was entered as lost");
      ledger.accepted =
          ledger.applied + ledger.merged + ledger.overridden + ledger.rejected + ledger.lost;
      if (ledger != kept[origin]) {
        report.problem("the ledger of server " + std::to_string(origin.value) +
                       " differs from the main line");
      }
      Ledger s = stored_counts[origin];
      s.accepted = ledger.accepted;
      s.lost = ledger.lost;
      if (s != ledger)
        report.problem("the fates of server " + std::to_string(origin.value) +
                       " differ from the line");
    }
    report.counted = counted;
    return {};
  }

  // Beyond the first level every branch that ever connected has said what its program knows: a
  // raise asks for it.
  Result<void> check_programs(const std::map<OriginId, Ledger>& connected) {
    std::set<OriginId> said;
    auto cursor = scan_prefix(view, Table::meta, keys::meta_program_prefix());
    for (; cursor->valid(); cursor->next()) {
      if (auto row = decode_program_seen(cursor->value()); !row)
        report.problem(row.error().message);
      said.insert(OriginId(Reader(cursor->key().substr(1)).fixed16()));
    }
    if (auto e = cursor->error()) return std::unexpected(*e);
    BL_ASSIGN(auto row, view.get(Table::records, keys::record(0, topology_key())));
    if (!row) return {};
    BL_ASSIGN(auto topology, Record::decode(topology_key(), std::move(*row)));
    if (level_in(schema, topology) == kFirstLevel) return {};
    for (const auto& [origin, ledger] : connected) {
      if (origin == state.self || said.count(origin)) continue;
      report.problem("what server " + std::to_string(origin.value) +
                     " said of its program is not recorded");
    }
    return {};
  }

  // Whoever was ever connected has a row; what retention does without one could be wrong for it.
  Result<void> check_branches() {
    std::set<OriginId> have;
    auto rows = scan_prefix(view, Table::meta, keys::meta_branch_prefix());
    for (; rows->valid(); rows->next()) {
      OriginId origin(Reader(rows->key().substr(2)).fixed16());
      if (auto p = decode_branch_progress(rows->value()); !p) {
        report.problem(p.error().message);
      } else if (p->passed > state.head) {
        report.problem("server " + std::to_string(origin.value) +
                       " is said to have passed more of the main line than there is");
      }
      have.insert(origin);
    }
    if (auto e = rows->error()) return std::unexpected(*e);
    if (have.empty() && trim.csn.value == 0) return {};  // of a version without retention
    for (const auto& [key, info] : incarnations) {
      if (key.first != state.self && !have.count(key.first)) {
        report.problem("how far server " + std::to_string(key.first.value) +
                       " has come is not recorded");
      }
    }
    return {};
  }

  Result<void> check_keys(const std::map<Stream, Seq>& ends) {
    uint64_t rows = 0;
    auto cursor = view.scan(Table::keys, {}, {});
    for (; cursor->valid(); cursor->next()) {
      ++rows;
      auto id = decode_key_row(cursor->value());
      auto end = id ? ends.find(stream_of(*id)) : ends.end();
      if (end == ends.end() || id->seq > end->second || id->is_none()) {
        report.problem("an operation key of a mutation that was not decided");
      }
    }
    if (auto e = cursor->error()) return std::unexpected(*e);
    if (rows != state.key_rows) {
      report.problem("operation keys: the counter says " + std::to_string(state.key_rows) +
                     ", there are " + std::to_string(rows));
    }
    return {};
  }

  Result<AuditReport> run() {
    auto known = scan_prefix(view, Table::meta, keys::meta_known_incarnation_prefix());
    uint32_t own_starts = 0;
    for (; known->valid(); known->next()) {
      Reader key(known->key().substr(1));
      OriginId origin(key.fixed16());
      auto info = decode_incarnation(known->value());
      if (!info) {
        report.problem(info.error().message);
        continue;
      }
      incarnations[{origin, info->incarnation}] = *info;
      own_starts += origin == state.self ? 1 : 0;
    }
    if (own_starts != state.generation)
      report.problem("a process start of the master is not recorded");
    for (const auto& [key, info] : incarnations) {
      if (info.predecessor.value != 0 && !incarnations.count({key.first, info.predecessor})) {
        report.problem("the predecessor of incarnation " + to_hex(info.incarnation.value) +
                       " is missing");
      }
    }
    BL_TRY(walk_line());
    BL_TRY(recount_trimmed());
    BL_TRY(check_fates());
    BL_TRY(check_branches());
    BL_ASSIGN(auto records, audit_records(view, schema, 0, IndexScope::authority));
    for (auto& p : records.problems) report.problem(std::move(p));
    report.at = {state.line, state.head, state.chain};
    report.records = records.records;
    report.elements = records.elements;
    for (const auto& [t, sum] : records.totals.sums) report.sums[t] = sum;
    for (const auto& c : records.totals.counts)
      report.counts[{c.entity, c.territory}] = uint64_t(c.delta);
    compare_totals(state.totals, report);
    if (elements_due != static_cast<int64_t>(records.elements)) {
      report.problem("the main line put " + std::to_string(elements_due) + " elements, there are " +
                     std::to_string(records.elements));
    }
    return std::move(report);
  }
};

}  // namespace

Result<AuditReport> audit_line(const StoreView& view, const Schema& schema) {
  BL_ASSIGN(auto row, view.get(Table::meta, keys::meta_state()));
  BL_ASSIGN(auto identity, view.get(Table::meta, keys::meta_identity()));
  if (!row || identity != store_identity(StoreRole::master)) {
    AuditReport report;
    report.problem("the store's identity or state row is missing or another's");
    return report;
  }
  auto state = decode_master_state(*row);
  if (!state) {
    AuditReport report;
    report.problem(state.error().message);
    return report;
  }
  auto trim = read_trim(view);
  if (!trim) {
    AuditReport report;
    report.problem(trim.error().message);
    return report;
  }
  Auditor auditor{view, schema, std::move(*state), *trim};
  return auditor.run();
}

}  // namespace branchline
