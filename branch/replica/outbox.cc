#include "branch/replica/outbox.h"

#include "common/base/check.h"
#include "common/base/limits.h"

namespace branchline {
namespace {

constexpr uint8_t kFormat = 1;
constexpr uint8_t kRebased = 1;

Error corrupt(const char* what) {
  return {ErrorKind::corrupt, "outbox.corrupt", std::string("outbox block: ") + what};
}

}  // namespace

bool is_pending(const Retired& retired, PendingRef ref) {
  if (ref.is_none()) return false;
  auto at = retired.find(lane_of(ref));
  return at != retired.end() && ref.order > at->second.order;
}

std::optional<PendingRef> skip_decided(const Retired& retired, PendingRef after) {
  for (auto at = retired.lower_bound({after.generation, Lane::interactive}); at != retired.end();
       ++at) {
    const auto& [lane, decided] = *at;
    if (lane.lane != after.lane) continue;
    PendingRef through{lane.generation, decided.order, lane.lane};
    bool further = lane.generation > after.generation || decided.order > after.order;
    return further ? through : after;
  }
  return std::nullopt;
}

void forget_effects(PendingEntry& entry) {
  entry.current = entry.forecast;
  entry.original.clear();
  entry.undo.assign(1, '\0');  // an empty pre-image
  entry.sums.clear();
}

std::string encode_effects(const std::vector<RecordOp>& effects) {
  std::string out;
  Writer w(out);
  w.varint(effects.size());
  for (const auto& op : effects) put_record_op(w, op);
  return out;
}

Result<std::vector<RecordOp>> decode_effects(std::string_view bytes) {
  Reader r(bytes);
  uint64_t count = r.varint_max(bytes.size());
  std::vector<RecordOp> out;
  for (uint64_t i = 0; i < count && r.ok(); ++i) out.push_back(get_record_op(r));
  if (!r.done()) return std::unexpected(corrupt("kept effects"));
  return out;
}

std::string encode_outbox_block(const OutboxBlock& block,
                                const std::vector<std::string>& canonical) {
  BL_CHECK(!block.entries.empty() && canonical.size() == block.entries.size());
  std::string out;
  Writer w(out);
  w.u8(kFormat);
  w.varint(block.entries.size());
  w.bytes(block.chain_before.view());
  w.bytes(block.chain_after.view());
  for (const auto& c : canonical) w.blob(c);
  for (const auto& e : block.entries) {
    w.u8(e.current != e.forecast ? kRebased : 0);
    w.fixed64(e.forecast);
    if (e.current != e.forecast) {
      w.fixed64(e.current);
      w.blob(e.original);
    }
    w.varint(e.sums.sums.size());
    for (const auto& [t, sum] : e.sums.sums) {
      w.varint(t.value);
      w.fixed64(sum.high);
      w.fixed64(sum.low);
    }
    w.blob(e.undo);
  }
  return out;
}

std::string encode_outbox_block(const OutboxBlock& block) {
  std::vector<std::string> canonical(block.entries.size());
  for (size_t i = 0; i < canonical.size(); ++i) {
    Writer w(canonical[i]);
    put_mutation(w, block.entries[i].mutation);
  }
  return encode_outbox_block(block, canonical);
}

Result<OutboxBlock> decode_outbox_block(PendingRef last, std::string bytes, bool with_undo) {
  OutboxBlock block;
  block.bytes = std::move(bytes);
  block.generation = last.generation;
  block.lane = last.lane;
  Reader r(block.bytes);
  if (r.u8() != kFormat) return std::unexpected(corrupt("unknown format"));
  uint64_t count = r.varint_max(limits::kMaxGroupMutations);
  auto before = Digest::from(r.bytes(32)), after = Digest::from(r.bytes(32));
  if (!before || !after || count == 0) return std::unexpected(corrupt("truncated"));
  block.chain_before = *before;
  block.chain_after = *after;
  block.entries.resize(count);
  for (auto& e : block.entries) {
    Reader one(r.blob());
    BL_ASSIGN(e.mutation, get_mutation(one));
    if (!one.done()) return std::unexpected(corrupt("bytes left over behind a mutation"));
  }
  for (auto& e : block.entries) {
    uint8_t flags = r.u8();
    if (flags & ~kRebased) r.fail();
    e.forecast = r.fixed64();
    e.current = e.forecast;
    if (flags & kRebased) {
      e.current = r.fixed64();
      e.original = std::string(r.blob());
    }
    uint64_t sums = r.varint_max(r.remaining());
    for (uint64_t i = 0; i < sums && r.ok(); ++i) {
      TerritoryId t(static_cast<uint32_t>(r.varint_max(0xffffffff)));
      Sum128 sum;
      sum.high = r.fixed64();
      sum.low = r.fixed64();
      if (with_undo) e.sums.sums.emplace_back(t, sum);
    }
    std::string_view undo = r.blob();
    if (with_undo) e.undo = std::string(undo);
  }
  const MutationId& id = block.entries.back().mutation.id;
  if (!r.done() || block.entries.back().mutation.order != last.order || id.lane != last.lane) {
    return std::unexpected(corrupt("malformed"));
  }
  return block;
}

Result<std::optional<OutboxBlock>> OutboxReader::next(PendingRef after, bool with_undo) {
  if (cursor_ && at_ == after) {
    cursor_->next();
  } else {
    PendingRef from = after;
    ++from.order;
    std::string end = only_ ? keys::outbox_end(side_, *only_)
                            : prefix_end(std::string(1, static_cast<char>(side_)));
    cursor_ = view_.scan(Table::outbox, keys::outbox(side_, from), end);
  }
  if (auto e = cursor_->error()) return std::unexpected(*e);
  if (!cursor_->valid()) {
    cursor_.reset();
    return std::optional<OutboxBlock>();
  }
  auto last = keys::parse_outbox(cursor_->key());
  if (!last) return std::unexpected(corrupt("damaged key"));
  at_ = *last;
  BL_ASSIGN(auto block, decode_outbox_block(*last, std::string(cursor_->value()), with_undo));
  return std::optional<OutboxBlock>(std::move(block));
}

Result<std::optional<OutboxBlock>> OutboxReader::holding_seq(PendingLane lane, Seq seq,
                                                             bool with_undo) {
  for (PendingRef at{lane.generation, Order(seq.value - 1), lane.lane};;) {
    BL_ASSIGN(auto block, next(at, with_undo));
    bool there =
        block && lane_of(block->last()) == lane && block->entries.front().mutation.id.seq <= seq;
    if (!there) return std::optional<OutboxBlock>();
    if (block->entries.back().mutation.id.seq >= seq) return block;
    at = block->last();
  }
}

Result<std::optional<OutboxBlock>> OutboxReader::holding(PendingRef ref) {
  PendingRef before = ref;
  before.order = Order(ref.order.value - 1);
  BL_ASSIGN(auto block, next(before));
  if (block && (block->generation != ref.generation || block->lane != ref.lane ||
                block->entries.front().mutation.order > ref.order)) {
    block.reset();
  }
  return block;
}

}  // namespace branchline
