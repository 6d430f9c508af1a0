// What is kept of decided mutations for the restore window, and what becomes of it when the line is
// replaced (SEMANTICS 19, 29).
//
// A block goes to the place keys::kKept in the batch that retires its last mutation, without its
// pre-images. What is kept of one lane of a process start always ends where its outbox begins, so
// taking blocks back from the newest to the oldest leaves a whole outbox after every step.
#include <algorithm>

#include "branch/replica/replica.h"
#include "common/base/check.h"
#include "common/base/probe.h"

namespace branchline {
namespace {

constexpr int64_t kLookEveryMs = 1000;
constexpr size_t kDropAtOnce = 64;

std::string kept_prefix() { return std::string(1, static_cast<char>(keys::kKept)); }

int64_t decided_at(std::string_view kept) {
  Reader r(kept);
  r.u8();
  return static_cast<int64_t>(r.fixed64());
}

}  // namespace

void Replica::write_history(Batch& batch) const {
  batch.put(Table::meta, keys::meta_reconciling(), encode_replica_history(history_));
}

void Replica::set_restore_window(int64_t ms, uint64_t bytes) {
  restore_window_ms_ = ms;
  kept_limit_ = bytes;
}

Result<Decision> Replica::run_again(Mutation& m) {
  OnPresentLine here(m, history_.past, state_.cursor.line);
  return decide_pending(m);
}

void Replica::keep_block(Batch& batch, const OutboxBlock& block) {
  std::string bytes = encode_kept_block(clock_.wall_ms(), block);
  std::string key = keys::outbox(keys::kKept, block.last());
  history_.kept_blocks += 1;
  history_.kept_bytes += key.size() + bytes.size();
  batch.put(Table::outbox, key, bytes);
  write_history(batch);
}

// What is kept of a lane, oldest first, behind what is known to be gone.
std::unique_ptr<Cursor> Replica::kept_of(Lane lane) const {
  PendingRef from = kept_from_[size_t(lane)];
  from.lane = lane;
  ++from.order;
  std::string end = lane == Lane::bulk ? prefix_end(kept_prefix())
                                       : keys::outbox(keys::kKept, {0, Order(0), Lane::bulk});
  return store_.scan(Table::outbox, keys::outbox(keys::kKept, from), end);
}

void Replica::drop_old_kept(Batch& batch) {
  int64_t now = clock_.wall_ms();
  bool due = now - kept_look_ms_ >= kLookEveryMs || now < kept_look_ms_;
  if (history_.kept_blocks == 0 || (!due && history_.kept_bytes <= kept_limit_)) return;
  kept_look_ms_ = now;
  std::array<std::unique_ptr<Cursor>, kLaneCount> lanes;
  for (size_t l = 0; l < kLaneCount; ++l) lanes[l] = kept_of(static_cast<Lane>(l));
  bool dropped = false;
  for (size_t n = 0; n < kDropAtOnce; ++n) {
    size_t oldest = kLaneCount;
    for (size_t l = 0; l < kLaneCount; ++l) {
      if (!lanes[l]->valid()) continue;
      bool older = oldest == kLaneCount ||
                   decided_at(lanes[l]->value()) < decided_at(lanes[oldest]->value());
      if (older) oldest = l;
    }
    if (oldest == kLaneCount) break;
    Cursor& kept = *lanes[oldest];
    bool old = now - decided_at(kept.value()) > restore_window_ms_;
    if (!old && history_.kept_bytes <= kept_limit_) break;
    BL_PROBE("keep.dropped");
    uint64_t bytes = kept.key().size() + kept.value().size();
    history_.kept_bytes -= std::min(history_.kept_bytes, bytes);
    history_.kept_blocks -= std::min<uint64_t>(history_.kept_blocks, 1);
    batch.erase(Table::outbox, kept.key());
    if (auto ref = keys::parse_outbox(kept.key())) kept_from_[oldest] = *ref;
    dropped = true;
    kept.next();
  }
  if (dropped) write_history(batch);
}

Result<int64_t> Replica::kept_since_ms() const {
  int64_t since = 0;
  for (size_t l = 0; l < kLaneCount; ++l) {
    auto kept = kept_of(static_cast<Lane>(l));
    if (auto e = kept->error()) return std::unexpected(*e);
    if (!kept->valid()) continue;
    int64_t at = decided_at(kept->value());
    since = since == 0 ? at : std::min(since, at);
  }
  return since;
}

// Fates of one lane of a process start from `from` to its end; how many mutations they were of.
// What a rolled-back disk learnt of mutations beyond its end stays: it cannot offer those again.
Result<uint64_t> Replica::take_back_fates(Batch& batch, PendingLane lane, Seq from) {
  const auto& info = incarnations_.at(lane.generation - 1);
  Stream stream{state_.self, info.incarnation, lane.lane};
  uint64_t end = last_of(lane).value;
  std::string prefix = keys::fate_prefix(stream);
  MutationId at{state_.self, info.incarnation, lane.lane, from};
  std::string begin = keys::fate(at);
  MutationId behind = at;
  behind.seq = from.next();
  auto before = store_.scan_back(Table::fates, prefix, keys::fate(behind));
  if (auto e = before->error()) return std::unexpected(*e);
  if (before->valid()) begin = std::string(before->key());
  uint64_t taken = 0;
  auto rows = store_.scan(Table::fates, begin, prefix_end(prefix));
  for (; rows->valid(); rows->next()) {
    auto id = keys::parse_fate(rows->key());
    if (!id) return fail(ErrorKind::corrupt, "fate.key", "a fate under a damaged key");
    BL_ASSIGN(auto row, decode_fate_row(*id, rows->value()));
    uint64_t first = id->seq.value, last = first + row.entry.count - 1;
    uint64_t low = std::max(first, from.value), high = std::min(last, end);
    if (low > high) continue;
    taken += high - low + 1;
    state_.ledger.count(row.entry.fate, uint64_t{0} - (high - low + 1));
    batch.erase(Table::fates, rows->key());
    auto put_part = [&](uint64_t a, uint64_t b) {
      FateEntry part = row.entry;
      part.id = *id;
      part.id.seq = Seq(a);
      part.csn = Csn(row.entry.csn.value + (a - first));
      part.count = static_cast<uint32_t>(b - a + 1);
      batch.put(Table::fates, keys::fate(part.id), encode_fate_row(part, row.content));
    };
    if (first < low) put_part(first, low - 1);
    if (last > high) put_part(high + 1, last);
  }
  if (auto e = rows->error()) return std::unexpected(*e);
  return taken;
}

Result<void> Replica::leave_line(const Write& write) {
  if (!state_.joined() || history_.leaving) return {};
  BL_PROBE("keep.line_left");
  ReplicaState state = state_;
  ReplicaHistory history = history_;
  uint64_t outbox_bytes = outbox_bytes_;
  // After each step that is written, that is where it stands.
  auto ok = take_back_kept([&](const Batch& batch, Sync sync) -> Result<void> {
    BL_TRY(write(batch, sync));
    state = state_;
    history = history_;
    outbox_bytes = outbox_bytes_;
    return {};
  });
  if (!ok) {
    state_ = std::move(state);
    history_ = std::move(history);
    outbox_bytes_ = outbox_bytes;
  }
  return ok;
}

Result<void> Replica::take_back_kept(const Write& write) {
  open_fates_.clear();
  // Mutations from `first` on of one lane are pending again; all before stay decided.
  auto take_back = [&](Batch& batch, PendingLane lane, const Mutation& first) -> Result<void> {
    BL_ASSIGN(uint64_t taken, take_back_fates(batch, lane, first.id.seq));
    Seq retired = last_of(lane);
    if (auto at = state_.retired.find(lane); at != state_.retired.end()) retired = at->second.seq;
    if (taken != retired.value + 1 - first.id.seq.value) {
      return fail(ErrorKind::corrupt, "keep.fates",
                  "the fates of process start " + std::to_string(lane.generation) + ", " +
                      std::string(to_string(lane.lane)) + " lane, from seq " +
                      std::to_string(first.id.seq.value) + " on are not all here");
    }
    // No mutation of this lane is between the two, so this order serves as that of the seq.
    state_.retired[lane] = {Seq(first.id.seq.value - 1), Order(first.order.value - 1)};
    state_.ledger.pending += taken;
    return {};
  };

  // Blocks that are decided in part first: they are the newest.
  OutboxReader reader(store_, state_.side);
  Batch batch;
  auto retired = state_.retired;
  for (const auto& [lane, decided] : retired) {
    BL_ASSIGN(auto block, reader.next({lane.generation, decided.order, lane.lane}));
    if (!block || lane_of(block->last()) != lane) continue;
    const Mutation& first = block->entries.front().mutation;
    if (first.order > decided.order) continue;
    for (auto& e : block->entries) {
      if (e.mutation.order <= decided.order) forget_effects(e);
    }
    std::string bytes = encode_outbox_block(*block);
    outbox_bytes_ += bytes.size();
    outbox_bytes_ -= std::min<uint64_t>(outbox_bytes_, block->bytes.size());
    batch.put(Table::outbox, keys::outbox(state_.side, block->last()), bytes);
    BL_TRY(take_back(batch, lane, first));
  }
  if (!batch.empty()) {
    write_state(batch);
    BL_TRY(write(batch, Sync::yes));
    batch.clear();
  }
  for (;;) {
    size_t bytes = 0;
    std::map<PendingLane, OutboxBlock> firsts;
    auto kept = store_.scan_back(Table::outbox, kept_prefix(), prefix_end(kept_prefix()));
    for (; kept->valid() && bytes < limits::kKeptStepBytes; kept->next()) {
      auto last = keys::parse_outbox(kept->key());
      if (!last) return fail(ErrorKind::corrupt, "outbox.corrupt", "outbox block: damaged key");
      BL_ASSIGN(auto one, decode_kept_block(*last, kept->value()));
      batch.erase(Table::outbox, kept->key());
      std::string whole = encode_outbox_block(one.block);
      outbox_bytes_ += whole.size();
      batch.put(Table::outbox, keys::outbox(state_.side, *last), whole);
      // People's edits may lean on it and wait for it: it goes at any hour.
      if (last->lane == Lane::bulk) state_.hurried = std::max(state_.hurried, *last);
      firsts.insert_or_assign(lane_of(*last), std::move(one.block));
      bytes += kept->value().size();
      history_.kept_blocks -= std::min<uint64_t>(history_.kept_blocks, 1);
      history_.kept_bytes -=
          std::min<uint64_t>(history_.kept_bytes, kept->key().size() + kept->value().size());
    }
    if (auto e = kept->error()) return std::unexpected(*e);
    if (bytes == 0) break;
    for (const auto& [lane, block] : firsts)
      BL_TRY(take_back(batch, lane, block.entries.front().mutation));
    write_history(batch);
    write_state(batch);
    BL_TRY(write(batch, Sync::yes));
    batch.clear();
  }
  if (!is_past(history_.past, state_.cursor.line))
    history_.past.push_back({state_.cursor.line, Csn(0)});
  history_.leaving = true;
  history_.offered_again = {state_.generation, state_.order};
  history_.kept_blocks = history_.kept_bytes = 0;
  kept_from_.fill({});
  seed_.reset();  // a snapshot that is under way is of the line that is left
  batch.erase(Table::meta, keys::meta_join());
  state_.announced = 0;  // a master of an earlier day may not know our starts
  write_history(batch);
  write_state(batch);
  return write(batch, Sync::yes);
}

}  // namespace branchline
