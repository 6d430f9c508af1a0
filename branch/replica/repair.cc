// Records fetched again at exactly the csn at which this replica stands: they take the place of
// what is held of them, however damaged that is, and what is pending on them is decided again
// (SEMANTICS 24).
#include <algorithm>
#include <utility>

#include "branch/replica/recount.h"
#include "branch/replica/replica.h"
#include "common/base/check.h"
#include "common/base/limits.h"
#include "common/base/probe.h"
#include "replication/merge/arrival.h"
#include "replication/merge/undo.h"

namespace branchline {
namespace {

struct Image {
  Record record;
  std::vector<std::pair<keys::ParsedElement, Element>> elements;

  Sum128 sum() const {
    if (record.state() == RecordState::tombstone) return {};
    Sum128 out = record_sum(record);
    for (const auto& [place, e] : elements)
      out += element_term(place.record, place.field, place.key, e.value());
    return out;
  }
};

Error wrong_rows(const char* what) {
  return {ErrorKind::invalid, "verify.rows", std::string("rows of a repair: ") + what};
}

Result<std::map<RecordKey, Image>> open_images(std::string_view rows) {
  std::map<RecordKey, Image> out;
  Image* last = nullptr;
  BL_TRY(open_rows(
      rows, [&](Table table, std::string_view key, std::string_view value) -> Result<void> {
        std::string full(1, '\0');
        full += key;
        if (table == Table::records) {
          auto parsed = keys::parse_record(full);
          if (!parsed) return std::unexpected(wrong_rows("a damaged key"));
          BL_ASSIGN(auto record, Record::decode(*parsed, std::string(value)));
          record.set_pending({});
          last = &out.insert_or_assign(*parsed, Image{std::move(record), {}}).first->second;
          return {};
        }
        auto parsed = keys::parse_element(full);
        if (!parsed || !last || parsed->record != last->record.key())
          return std::unexpected(wrong_rows("an element without its record"));
        BL_ASSIGN(auto element, decode_element(value));
        last->elements.emplace_back(*parsed, std::move(element));
        return {};
      }));
  return out;
}

bool in_ranges(const std::vector<KeyRange>& ranges, const RecordKey& key) {
  std::string k = range_key(key);
  return std::any_of(ranges.begin(), ranges.end(), [&](const KeyRange& r) { return r.holds(k); });
}

// What was held of a record before: nothing where there was none.
struct Before {
  bool unreadable = false;
  std::optional<Sum128> base, view;
};

}  // namespace

// Pending mutations that hang together with some records, and all records that those touch.
struct Replica::Connected {
  std::set<PendingRef> refs;
  std::set<RecordKey> records;
};

// Links between pending mutations stand in the records' rows: those may be what is damaged. So the
// outbox is read as a whole.
Result<Replica::Connected> Replica::connected_to(const std::set<RecordKey>& records) {
  struct Pending {
    PendingRef ref;
    std::vector<RecordKey> touches, names;
  };
  std::vector<Pending> all;
  std::string side(1, static_cast<char>(state_.side));
  auto blocks = scan_prefix(store_, Table::outbox, side);
  for (; blocks->valid(); blocks->next()) {
    auto last = keys::parse_outbox(blocks->key());
    if (!last) return fail(ErrorKind::corrupt, "outbox.corrupt", "outbox block: damaged key");
    BL_ASSIGN(auto block, decode_outbox_block(*last, std::string(blocks->value())));
    for (const auto& e : block.entries) {
      Pending p{block.ref(e), {}, {}};
      if (!is_pending(state_.retired, p.ref)) continue;
      BL_ASSIGN(auto undo, undo_records(e.undo));
      for (const auto& u : undo) p.touches.push_back(u.key);
      for (const auto& op : e.mutation.ops) p.names.push_back(op.record);
      all.push_back(std::move(p));
    }
  }
  if (auto e = blocks->error()) return std::unexpected(*e);
  Connected out{{}, records};
  auto meets = [&](const std::vector<RecordKey>& keys) {
    return std::any_of(keys.begin(), keys.end(),
                       [&](const RecordKey& k) { return out.records.count(k) > 0; });
  };
  for (bool grown = true; grown;) {
    grown = false;
    for (const auto& p : all) {
      if (out.refs.count(p.ref) > 0 || (!meets(p.touches) && !meets(p.names))) continue;
      out.refs.insert(p.ref);
      out.records.insert(p.touches.begin(), p.touches.end());
      grown = true;
    }
  }
  return out;
}

Result<RepairResult> Replica::repair(const std::vector<KeyRange>& ranges, std::string_view rows) {
  BL_CHECK(!workspace_->dirty());
  RepairResult result;
  BL_ASSIGN(auto images, open_images(rows));
  std::set<RecordKey> concerned;
  for (const auto& [key, image] : images) {
    if (!in_ranges(ranges, key))
      return std::unexpected(wrong_rows("a record that was not asked for"));
    if (!holds_any(territories_of(image.record)))
      return std::unexpected(wrong_rows("a record of a territory that is not held here"));
    concerned.insert(key);
  }
  auto each_row =
      [&](const std::function<Result<void>(const RowWalk&, bool)>& visit) -> Result<void> {
    for (const auto& range : ranges) {
      RowWalk walk(store_, state_.side, range);
      for (;;) {
        BL_ASSIGN(bool more, walk.next());
        BL_TRY(visit(walk, more));
        if (!more) break;
      }
    }
    return {};
  };
  BL_TRY(each_row([&](const RowWalk& walk, bool row) -> Result<void> {
    for (const auto& k : walk.orphans()) {
      auto key = keys::parse_record(std::string_view(k).substr(0, 19));
      if (key) concerned.insert(*key);
    }
    auto key = row ? keys::parse_record(walk.key()) : std::nullopt;
    if (key) concerned.insert(*key);
    return {};
  }));
  BL_ASSIGN(auto connected, connected_to(concerned));
  for (const auto& key : connected.records) {
    if (!in_ranges(ranges, key)) result.more.push_back(key);
  }
  if (!result.more.empty()) {
    BL_PROBE("repair.more");
    return result;
  }

  // How it was, for the report, and what the pending mutations did, as far as it can be read.
  std::map<RecordKey, Before> before;
  BL_ASSIGN(auto base, BaseView::open(store_, schema_, &connected.refs));
  BL_TRY(each_row([&](const RowWalk& walk, bool row) -> Result<void> {
    for (const auto& k : walk.orphans()) {
      if (auto key = keys::parse_record(std::string_view(k).substr(0, 19)))
        before[*key].unreadable = true;
    }
    auto key = row ? keys::parse_record(walk.key()) : std::nullopt;
    if (!key) return {};
    Before& b = before[*key];
    BL_ASSIGN(auto was, base->base_of(walk));
    if (was) b.base = was->sum;
    auto view = sum_row(walk);
    if (view) b.view = view->sum;
    b.unreadable = b.unreadable || !view || base->suspects().count(*key) > 0;
    return {};
  }));

  workspace_->discard();
  auto told = [&]() -> Result<void> {
    for (const auto& key : connected.records) {
      Before& b = before[key];
      auto image = images.find(key);
      std::optional<Sum128> is, shown;
      if (image != images.end()) is = image->second.sum();
      BL_ASSIGN(auto found, workspace_->find(key));
      if (found.record) {
        shown = Sum128{};
        if (found.record->state() != RecordState::tombstone) {
          shown = record_sum(*found.record);
          BL_ASSIGN(auto elements, workspace_->elements(key, FieldId(0)));
          for (const auto& [place, e] : elements)
            *shown += element_term(key, place.field, place.key, e.value());
        }
      }
      const char* what = b.unreadable   ? "was damaged"
                         : b.base == is ? (b.view == shown ? nullptr : "was shown otherwise")
                         : !b.base      ? "was missing"
                         : !is          ? "is not the master's"
                                        : "differed";
      if (!what) continue;
      result.mended.push_back({key, what});
      result.changes.records.push_back(key);
    }
    return {};
  };
  auto steps = [&]() -> Result<ApplyResult> {
    for (const auto& key : connected.records) BL_TRY(workspace_->wipe(key));
    for (auto& [key, image] : images) {
      workspace_->begin();
      auto put = [&]() -> Result<void> {
        BL_ASSIGN(Record copy, Record::decode(key, image.record.encode()));
        BL_ASSIGN(Record * record, workspace_->install(std::move(copy)));
        for (const auto& [place, e] : image.elements)
          BL_TRY(workspace_->put_element(*record, place.field, place.key, e));
        return {};
      };
      auto ok = put();
      workspace_->end();
      BL_TRY(std::move(ok));
    }
    return redo_pending(connected.refs, base->effects(), told);
  };
  auto redone = steps();
  if (!redone) {
    workspace_->discard();
    if (redone.error().kind != ErrorKind::corrupt) return std::unexpected(redone.error());
    return fail(ErrorKind::corrupt, "repair.failed", redone.error().message);
  }
  if (redone->redone > 0) BL_PROBE("repair.pending_redone");
  result.redone = redone->redone;
  result.batch = std::move(redone->batch);
  for (const auto& key : redone->changes.records) result.changes.records.push_back(key);
  result.changes.were_in = std::move(redone->changes.were_in);
  std::sort(result.changes.records.begin(), result.changes.records.end());
  auto& changed = result.changes.records;
  changed.erase(std::unique(changed.begin(), changed.end()), changed.end());
  return result;
}

Result<Batch> Replica::mend_index(const std::vector<RecordKey>& records,
                                  const std::vector<std::string>& rows, uint64_t& mended) {
  Batch batch;
  auto keys_of = [&](const RecordKey& key) -> Result<std::vector<std::string>> {
    BL_ASSIGN(auto flat, store_.get(Table::records, keys::record(state_.side, key)));
    if (!flat) return std::vector<std::string>();
    BL_ASSIGN(auto record, Record::decode(key, std::move(*flat)));
    return index_keys(record, schema_->entity(key.entity), state_.side, IndexScope::all);
  };
  for (const auto& key : records) {
    BL_ASSIGN(auto wanted, keys_of(key));
    for (const auto& k : wanted) {
      BL_ASSIGN(auto there, store_.get(Table::index, k));
      if (there) continue;
      batch.put(Table::index, k, {});
      ++mended;
    }
  }
  for (const auto& row : rows) {
    BL_ASSIGN(auto there, store_.get(Table::index, row));
    if (!there) continue;
    auto owner = owner_of_index_row(row);
    if (owner) {
      BL_ASSIGN(auto wanted, keys_of(*owner));
      if (std::find(wanted.begin(), wanted.end(), row) != wanted.end()) continue;
    }
    batch.erase(Table::index, row);
    ++mended;
  }
  return batch;
}

Batch Replica::mend_totals(const std::vector<std::pair<TerritoryId, Sum128>>& sums,
                           const Totals& stored, const Totals& counted) {
  for (const auto& [t, off] : sums) state_.totals.sums[t] += off;
  auto count = [](const Totals& of, const auto& key) {
    auto at = of.counts.find(key);
    return at == of.counts.end() ? uint64_t{0} : at->second;
  };
  std::set<std::pair<EntityId, TerritoryId>> keys;
  for (const auto* of : {&stored, &counted}) {
    for (const auto& [key, n] : of->counts) keys.insert(key);
  }
  // What changed meanwhile stays counted: unsigned numbers go round both ways.
  for (const auto& key : keys)
    state_.totals.counts[key] += count(counted, key) - count(stored, key);
  Batch batch;
  write_state(batch);
  return batch;
}

}  // namespace branchline
