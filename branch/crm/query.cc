#include "branch/crm/query.h"

#include <algorithm>

#include "branch/crm/plan.h"
#include "branch/crm/virtual_sets.h"
#include "common/base/limits.h"
#include "common/schema/index_key.h"

namespace branchline {
namespace {

// A continuation says what kind of place it is, so that one of another query is told apart.
enum class Place : char { index = 'x', record = 'r', id = 'i', sorted = 's' };

Place place_kind(const Plan& plan) {
  return plan.kind == Plan::Kind::index     ? Place::index
         : plan.kind == Plan::Kind::records ? Place::record
                                            : Place::id;
}

std::unexpected<Error> bad_continuation() {
  return fail(ErrorKind::invalid, "query.continuation",
              "this $skiptoken does not belong to this query");
}

// Candidates in the plan's order; `visit(record, key)` returns false to stop. `after`: keys up to
// here were seen.
using Visit = std::function<bool(Record&&, std::string_view key)>;

Result<void> walk_index(const ReadContext& c, const Query& q, const Plan& plan,
                        const std::string& after, const Visit& visit) {
  for (const auto& range : plan.ranges) {
    std::string begin = range.begin, end = range.end;
    if (!after.empty()) {
      if (plan.descending) {
        end = std::min(end, after);
      } else {
        begin = std::max(begin, after + '\0');
      }
    }
    if (begin >= end) continue;
    auto cursor = plan.descending ? c.view->scan_back(Table::index, begin, end)
                                  : c.view->scan(Table::index, begin, end);
    for (; cursor->valid(); cursor->next()) {
      BL_ASSIGN(auto record, read_record(c, {q.entity->id, keys::index_record(cursor->key())}));
      if (record && !visit(std::move(*record), cursor->key())) return {};
    }
    if (auto e = cursor->error()) return std::unexpected(*e);
  }
  return {};
}

Result<void> walk_records(const ReadContext& c, const Query& q, const std::string& after,
                          const Visit& visit) {
  std::string prefix = keys::record_prefix(c.side, q.entity->id);
  std::string begin = after.empty() ? prefix : after + '\0';
  auto cursor = c.view->scan(Table::records, begin, prefix_end(prefix));
  for (; cursor->valid(); cursor->next()) {
    auto key = keys::parse_record(cursor->key());
    if (!key) return fail(ErrorKind::corrupt, "record.key", "a record's key is damaged");
    BL_ASSIGN(auto record, Record::decode(*key, std::string(cursor->value())));
    if (!record.live() || !may_read(c.principal, *q.entity, record)) continue;
    if (!visit(std::move(record), cursor->key())) return {};
  }
  if (auto e = cursor->error()) return std::unexpected(*e);
  return {};
}

Result<void> walk(const ReadContext& c, const Query& q, const Plan& plan, const std::string& after,
                  const Visit& visit) {
  switch (plan.kind) {
    case Plan::Kind::index:
      return walk_index(c, q, plan, after, visit);
    case Plan::Kind::records:
      return walk_records(c, q, after, visit);
    case Plan::Kind::ids:
      for (const auto& id : plan.ids) {
        if (!after.empty() && id.view() <= after) continue;
        BL_ASSIGN(auto record, read_record(c, {q.entity->id, id}));
        if (record && !visit(std::move(*record), id.view())) return {};
      }
      return {};
    case Plan::Kind::virtual_set:
      return for_each_virtual(c, *q.entity, q.filter,
                              [&](Record&& r) { return visit(std::move(r), {}); });
  }
  return {};
}

// Sort bytes of a record: columns in order, descending ones inverted, then the id.
std::string sort_key(const Query& q, const Record& record) {
  std::string key, scratch;
  for (const auto& o : q.order) {
    std::string part = comparison_key(column_value(record, o.column, scratch));
    if (o.descending) {
      for (auto& c : part) c = static_cast<char>(~c);
      part.push_back(
          '\xff');  // so that the longer of two, one beginning with the other, comes first
    } else {
      part.push_back('\0');
    }
    key += part;
  }
  key.append(record.key().id.view());
  return key;
}

struct Sorted {
  std::string key;
  Record record;
};

// About what a record takes in memory.
size_t bytes_of(const Record& record) {
  size_t bytes = sizeof(Record);
  for (const auto& cell : record.cells()) bytes += sizeof(Cell) + cell.size;
  return bytes;
}

uint64_t page_of(const Query& q) {
  uint64_t page = q.page_size == 0 ? limits::kMaxPageSize
                                   : std::min<uint64_t>(q.page_size, limits::kMaxPageSize);
  return q.top ? std::min(page, *q.top) : page;
}

// Keys of the replica start with its side, which may have been switched since the page before.
bool sided(const Plan& plan) {
  return plan.kind == Plan::Kind::index || plan.kind == Plan::Kind::records;
}

// The key to go on behind; it must be one that this query could have stopped at.
Result<std::string> place_of(const ReadContext& c, const Query& q, const Plan& plan) {
  if (q.continue_at.empty()) return std::string();
  if (q.continue_at[0] != char(place_kind(plan))) return bad_continuation();
  std::string after = q.continue_at.substr(1);
  if (!sided(plan)) return after;
  after.insert(after.begin(), static_cast<char>(c.side));
  bool within = plan.kind == Plan::Kind::records
                    ? after.starts_with(keys::record_prefix(c.side, q.entity->id))
                    : std::any_of(plan.ranges.begin(), plan.ranges.end(), [&](const KeyRange& r) {
                        return after >= r.begin && after < r.end;
                      });
  if (!within) return bad_continuation();
  return after;
}

Result<QueryResult> run_ordered(const ReadContext& c, const Query& q, const Plan& plan) {
  QueryResult out;
  BL_ASSIGN(std::string after, place_of(c, q, plan));
  uint64_t page = page_of(q), skipped = 0;
  size_t bytes = 0;
  std::string last;
  bool more = false;
  if (page == 0) return out;
  BL_TRY(walk(c, q, plan, after, [&](Record&& record, std::string_view key) {
    if (!holds(q.filter, record)) return true;
    if (skipped < q.skip) {
      ++skipped;
      return true;
    }
    if (out.records.size() == page || bytes >= limits::kMaxPageBytes) {
      more = true;
      return false;
    }
    last = std::string(key);
    bytes += bytes_of(record);
    out.records.push_back(std::move(record));
    return true;
  }));
  bool top_reached = q.top && out.records.size() >= *q.top;
  if (more && !top_reached)
    out.continue_at = std::string(1, char(place_kind(plan))) + last.substr(sided(plan) ? 1 : 0);
  return out;
}

std::unexpected<Error> too_much_to_sort(const std::string& what) {
  return fail(ErrorKind::invalid, "query.sort",
              "sorting this would hold more than " + what +
                  "; narrow the $filter, or order by an indexed field");
}

// Everything that must be sorted, or has no key to continue at: the best page in a heap of bounded
// size.
Result<QueryResult> run_sorted(const ReadContext& c, const Query& q, const Plan& plan) {
  QueryResult out;
  std::string after;
  if (!q.continue_at.empty()) {
    if (q.continue_at[0] != char(Place::sorted)) return bad_continuation();
    after = q.continue_at.substr(1);
  }
  uint64_t page = page_of(q);
  uint64_t wanted = q.skip + page + 1;
  if (wanted > limits::kMaxSortedRows)
    return too_much_to_sort(std::to_string(limits::kMaxSortedRows) + " rows");
  auto less = [](const Sorted& a, const Sorted& b) { return a.key < b.key; };
  std::vector<Sorted> heap;
  uint64_t total = 0;
  size_t held = 0;
  auto size_of = [](const Sorted& s) { return s.key.size() + bytes_of(s.record); };
  BL_TRY(walk(c, q, plan, {}, [&](Record&& record, std::string_view) {
    if (!holds(q.filter, record)) return true;
    ++total;
    std::string key = sort_key(q, record);
    if (!after.empty() && key <= after) return true;
    if (heap.size() == wanted && heap.front().key <= key) return true;
    heap.push_back({std::move(key), std::move(record)});
    held += size_of(heap.back());
    std::push_heap(heap.begin(), heap.end(), less);
    if (heap.size() > wanted) {
      std::pop_heap(heap.begin(), heap.end(), less);
      held -= size_of(heap.back());
      heap.pop_back();
    }
    return held <= limits::kMaxSortedBytes;
  }));
  if (held > limits::kMaxSortedBytes)
    return too_much_to_sort(std::to_string(limits::kMaxSortedBytes) + " bytes");
  std::sort_heap(heap.begin(), heap.end(), less);
  if (q.count) out.count = total;
  if (page == 0) return out;
  size_t bytes = 0;
  uint64_t i = q.skip;
  for (; i < heap.size() && out.records.size() < page && bytes < limits::kMaxPageBytes; ++i) {
    after = heap[i].key;
    bytes += bytes_of(heap[i].record);
    out.records.push_back(std::move(heap[i].record));
  }
  bool top_reached = q.top && out.records.size() >= *q.top;
  if (i < heap.size() && !top_reached)
    out.continue_at = std::string(1, char(Place::sorted)) + after;
  return out;
}

}  // namespace

Result<QueryResult> run_query(const ReadContext& c, const Query& q) {
  Plan plan = make_plan(c, q);
  bool in_order = plan.ordered && plan.kind != Plan::Kind::virtual_set;
  BL_ASSIGN(QueryResult out, in_order ? run_ordered(c, q, plan) : run_sorted(c, q, plan));
  out.plan = plan.text + (in_order ? "" : ", sorted");
  if (q.count && !out.count) {
    uint64_t n = 0;
    BL_TRY(for_each_match(c, *q.entity, q.filter, [&](const Record&) {
      ++n;
      return true;
    }));
    out.count = n;
  }
  return out;
}

Result<void> for_each_match(const ReadContext& c, const Entity& entity, const Expression& filter,
                            const std::function<bool(const Record&)>& visit) {
  Query q;
  q.entity = &entity;
  q.filter = filter;
  Plan plan = make_plan(c, q);
  return walk(c, q, plan, {}, [&](Record&& record, std::string_view) {
    return !holds(filter, record) || visit(record);
  });
}

}  // namespace branchline
