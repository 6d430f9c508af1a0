#include "branch/replica/audit.h"

#include <set>

#include "common/store/identity.h"
#include "replication/merge/record_audit.h"

namespace branchline {
namespace {

struct Auditor {
  const StoreView& view;
  const Schema& schema;
  ReplicaState state;
  AuditReport report;
  std::map<uint32_t, IncarnationInfo> incarnations;
  Ledger counted;
  std::map<TerritoryId, Sum128> pending_sums;
  std::map<Stream, Seq> first_pending;
  ReplicaHistory history;
  std::map<Stream, Seq> first_kept;
  std::map<Stream, Seq> known;  // through which seq there are fates or pending work

  Result<void> read_incarnations() {
    auto rows = scan_prefix(view, Table::meta, keys::meta_incarnation_prefix());
    for (; rows->valid(); rows->next()) {
      auto info = decode_incarnation(rows->value());
      if (!info) {
        report.problem(info.error().message);
        continue;
      }
      incarnations[info->generation] = *info;
    }
    if (incarnations.size() != state.generation) {
      report.problem("of " + std::to_string(state.generation) + " process starts, " +
                     std::to_string(incarnations.size()) + " are recorded");
    }
    return rows->error() ? Result<void>(std::unexpected(*rows->error())) : Result<void>{};
  }

  Result<void> count_outbox() {
    OutboxReader reader(view, state.side);
    PendingRef at;
    struct Chain {
      MutationHasher hasher;
      Digest digest;
      Chain(const SaltKey& key, Lane lane, const Digest& start)
          : hasher(key, lane), digest(start) {}
    };
    std::map<PendingLane, Chain> chains;
    std::map<PendingLane, Seq> last;
    std::set<std::pair<uint32_t, Order>> orders;
    for (;;) {
      auto next = reader.next(at);
      if (!next) {
        report.problem(next.error().message);
        return {};
      }
      if (!*next) break;
      OutboxBlock& block = **next;
      at = block.last();
      auto info = incarnations.find(block.generation);
      if (info == incarnations.end()) {
        report.problem("pending work of an unknown process start");
        continue;
      }
      PendingLane lane = lane_of(at);
      auto [chain, fresh] =
          chains.try_emplace(lane, info->second.salt_key, lane.lane, block.chain_before);
      Digest& digest = chain->second.digest;
      if (!fresh && digest != block.chain_before)
        report.problem("the outbox's hash chain has a gap");
      for (auto& e : block.entries) {
        digest = chain_next(digest, chain->second.hasher.digest(e.mutation));
        PendingRef ref = block.ref(e);
        if (!is_pending(state.retired, ref)) continue;
        ++counted.pending;
        Seq due = last.count(lane) ? last[lane].next() : state.retired[lane].seq.next();
        if (e.mutation.id.seq != due)
          report.problem("a pending mutation is missing before order " +
                         std::to_string(ref.order.value));
        last[lane] = e.mutation.id.seq;
        bool fits = ref.generation != state.generation || ref.order <= state.order;
        if (!fits || !orders.insert({ref.generation, ref.order}).second)
          report.problem("order " + std::to_string(ref.order.value) + " is used twice or unknown");
        first_pending.try_emplace(stream_of(e.mutation.id), e.mutation.id.seq);
        known[stream_of(e.mutation.id)] = e.mutation.id.seq;
        for (const auto& [t, sum] : e.sums.sums) pending_sums[t] += sum;
        if (!e.mutation.operation_key.empty()) {
          BL_ASSIGN(auto row, view.get(Table::keys, keys::operation_key(e.mutation.author,
                                                                        e.mutation.operation_key)));
          if (!row) report.problem("the operation key of a pending mutation is missing");
        }
      }
      if (digest != block.chain_after) report.problem("the outbox's hash chain does not verify");
    }
    // Orders count across the lanes, so both together are as many as the last order.
    uint64_t accepted_here = 0;
    for (size_t l = 0; l < kLaneCount; ++l) {
      accepted_here += state.ends[l].seq.value;
      PendingLane lane{state.generation, static_cast<Lane>(l)};
      auto own = chains.find(lane);
      bool listed = state.retired.count(lane) > 0;
      if (!listed || (own != chains.end() && own->second.digest != state.ends[l].chain)) {
        report.problem("the state row names another end of this start's mutations than the outbox");
      }
    }
    if (accepted_here != state.order.value) {
      report.problem("the state row's orders and seqs of this start do not agree");
    }
    // Whatever is neither decided nor in the outbox is missing.
    for (const auto& [lane, retired] : state.retired) {
      size_t l = size_t(lane.lane);
      Seq end = lane.generation == state.generation
                    ? state.ends[l].seq
                    : incarnations[lane.generation + 1].predecessor_ends[l].seq;
      Seq have = last.count(lane) ? last[lane] : retired.seq;
      if (have != end)
        report.problem("pending mutations behind seq " + std::to_string(have.value) + " of lane " +
                       std::string(to_string(lane.lane)) + " are missing");
    }
    return {};
  }

  // What is kept for a restored master: all that the counters say, and whole up to where the outbox
  // begins.
  Result<void> count_kept() {
    BL_ASSIGN(auto row, view.get(Table::meta, keys::meta_reconciling()));
    if (row) {
      auto decoded = decode_replica_history(*row);
      if (!decoded) {
        report.problem(decoded.error().message);
      } else {
        history = std::move(*decoded);
      }
    }
    std::string prefix(1, static_cast<char>(keys::kKept));
    uint64_t blocks = 0, bytes = 0;
    PendingLane lane;
    Digest chain;
    auto kept = scan_prefix(view, Table::outbox, prefix);
    for (; kept->valid(); kept->next()) {
      ++blocks;
      bytes += kept->key().size() + kept->value().size();
      auto last = keys::parse_outbox(kept->key());
      auto one = last ? decode_kept_block(*last, kept->value())
                      : Result<KeptBlock>(std::unexpected(Error{}));
      if (!one) {
        report.problem("a damaged block of decided changes");
        continue;
      }
      if (lane_of(*last) == lane && one->block.chain_before != chain)
        report.problem("the hash chain of what is kept of decided changes has a gap");
      lane = lane_of(*last);
      const Mutation& first = one->block.entries.front().mutation;
      first_kept.try_emplace(stream_of(first.id), first.id.seq);
      auto info = incarnations.find(lane.generation);
      if (info == incarnations.end()) {
        report.problem("kept changes of an unknown process start");
        continue;
      }
      MutationHasher hasher(info->second.salt_key, lane.lane);
      chain = one->block.chain_before;
      for (const auto& e : one->block.entries) chain = chain_next(chain, hasher.digest(e.mutation));
      if (chain != one->block.chain_after)
        report.problem("the hash chain of what is kept of decided changes does not verify");
    }
    if (blocks != history.kept_blocks || bytes != history.kept_bytes) {
      report.problem("kept of decided changes: the counters say " +
                     std::to_string(history.kept_blocks) + " blocks of " +
                     std::to_string(history.kept_bytes) + " bytes, there are " +
                     std::to_string(blocks) + " of " + std::to_string(bytes));
    }
    return kept->error() ? Result<void>(std::unexpected(*kept->error())) : Result<void>{};
  }

  // What is not kept cannot be offered again when the line is replaced: its fate stays what it was
  // on the line before. (The master's ledger has it as lost.)
  bool is_of_line_left(const FateEntry& entry) const {
    Stream stream = stream_of(entry.id);
    auto kept = first_kept.find(stream);
    auto pending = first_pending.find(stream);
    Seq begin = kept != first_kept.end()         ? kept->second
                : pending != first_pending.end() ? pending->second
                                                 : Seq(UINT64_MAX);
    return !history.past.empty() && entry.id.seq.value + entry.count - 1 < begin.value;
  }

  Result<void> count_fates() {
    std::set<Incarnation> own;
    for (const auto& [generation, info] : incarnations) own.insert(info.incarnation);
    FateCoverage coverage;
    auto rows = scan_prefix(view, Table::fates, keys::fate_prefix(state.self));
    for (; rows->valid(); rows->next()) {
      auto id = keys::parse_fate(rows->key());
      if (!id) {
        report.problem("a fate under a damaged key");
        continue;
      }
      auto row = decode_fate_row(*id, rows->value());
      if (!row) {
        report.problem(row.error().message);
        continue;
      }
      counted.count(row->entry.fate, row->entry.count);
      bool behind = row->entry.csn.value + row->entry.count - 1 > state.cursor.csn.value;
      if (behind && !is_of_line_left(row->entry)) {
        report.problem("a fate of seq " + std::to_string(id->seq.value) + " at csn " +
                       std::to_string(row->entry.csn.value) + ", behind what is applied here");
      }
      coverage.add(row->entry, own.count(id->incarnation) > 0, report);
    }
    for (const auto& [stream, first] : first_pending) {
      auto end = coverage.ends().find(stream);
      Seq due = end == coverage.ends().end() ? Seq(1) : end->second.next();
      if (first != due)
        report.problem("between fates and outbox, seq " + std::to_string(due.value) +
                       " is missing");
    }
    for (const auto& [stream, end] : coverage.ends()) known[stream] = std::max(known[stream], end);
    return rows->error() ? Result<void>(std::unexpected(*rows->error())) : Result<void>{};
  }

  Result<void> count_keys() {
    uint64_t rows = 0;
    auto cursor = view.scan(Table::keys, {}, {});
    for (; cursor->valid(); cursor->next()) {
      ++rows;
      auto key = decode_branch_key_row(cursor->value());
      if (key && key->mutation == MutationId{}) continue;  // its request changed nothing
      auto end = key ? known.find(stream_of(key->mutation)) : known.end();
      if (end == known.end() || key->mutation.seq > end->second || key->mutation.is_none()) {
        report.problem("an operation key of a mutation that is neither pending nor decided");
      }
    }
    if (rows != state.key_rows) {
      report.problem("operation keys: the counter says " + std::to_string(state.key_rows) +
                     ", there are " + std::to_string(rows));
    }
    return cursor->error() ? Result<void>(std::unexpected(*cursor->error())) : Result<void>{};
  }

  Result<AuditReport> run() {
    BL_TRY(read_incarnations());
    BL_TRY(count_outbox());
    BL_TRY(count_kept());
    BL_TRY(count_fates());
    BL_TRY(count_keys());
    BL_ASSIGN(auto records, audit_records(view, schema, state.side, IndexScope::all));
    for (auto& p : records.problems) report.problem(std::move(p));
    report.at = state.cursor;
    report.records = records.records;
    report.elements = records.elements;
    for (const auto& [t, sum] : records.totals.sums) report.sums[t] = sum;
    // What is stored is the view; without what is pending it is the base.
    for (const auto& [t, sum] : pending_sums) report.sums[t] -= sum;
    for (const auto& c : records.totals.counts)
      report.counts[{c.entity, c.territory}] = uint64_t(c.delta);
    compare_totals(state.totals, report);
    counted.lost = state.ledger.lost;  // written by an operator only
    counted.accepted = counted.pending + counted.applied + counted.merged + counted.overridden +
                       counted.rejected + counted.lost;
    report.counted[state.self] = counted;
    if (counted != state.ledger) {
      auto text = [](const Ledger& l) {
        return std::to_string(l.accepted) + " accepted, " + std::to_string(l.pending) +
               " pending, " + std::to_string(l.applied) + " applied, " + std::to_string(l.merged) +
               " merged, " + std::to_string(l.overridden) + " overridden, " +
               std::to_string(l.rejected) + " rejected";
      };
      report.problem("the ledger says " + text(state.ledger) + "; counted are " + text(counted));
    }
    return std::move(report);
  }
};

}  // namespace

Result<AuditReport> audit_replica(const StoreView& view, const Schema& schema) {
  BL_ASSIGN(auto row, view.get(Table::meta, keys::meta_state()));
  BL_ASSIGN(auto identity, view.get(Table::meta, keys::meta_identity()));
  if (!row || identity != store_identity(StoreRole::branch)) {
    AuditReport report;
    report.problem("the store's identity or state row is missing or another's");
    return report;
  }
  auto state = decode_replica_state(*row);
  if (!state) {
    AuditReport report;
    report.problem(state.error().message);
    return report;
  }
  Auditor auditor{view, schema, std::move(*state)};
  return auditor.run();
}

}  // namespace branchline
