// The fields of every struct that a format carries, named one by one: a struct that gains a field
// does not compile here, so that nobody forgets its codec. On top of them: deep equality, and
// whether a sample fills every field.
#pragma once

#include <array>
#include <map>
#include <string>
#include <tuple>
#include <vector>

#include "branch/replica/state.h"
#include "common/store/anchor.h"
#include "master/ingest/ingest.h"
#include "replication/session/greeting.h"
#include "replication/wire/feed_frame.h"

namespace branchline::fields {

// `BL_FIELDS(Type, a, b, ...)`: as many names as the struct has fields, else the structured binding
// is refused.
#define BL_FIELDS(Type, ...)            \
  inline auto of(const Type& object) {  \
    const auto& [__VA_ARGS__] = object; \
    return std::tie(__VA_ARGS__);       \
  }

BL_FIELDS(MutationId, a, b, c, d)
BL_FIELDS(Stream, a, b, c)
BL_FIELDS(ElementKey, a, b)
BL_FIELDS(RecordKey, a, b)
BL_FIELDS(PendingRef, a, b, c)
BL_FIELDS(Value, a, b)
BL_FIELDS(Version, a, b, c, d, e)
BL_FIELDS(Guard, a, b, c)
BL_FIELDS(CellOp, a, b, c, d)
BL_FIELDS(RecordOp, a, b, c, d, e, f, g, h)
BL_FIELDS(Mutation, a, b, c, d, e, f, g, h, i, j, k, l)
BL_FIELDS(Commit, a, b, c, d, e, f, g)
BL_FIELDS(Commit::Lost, a, b, c)
BL_FIELDS(LineCursor, a, b, c)
BL_FIELDS(BlockTag, a, b, c)
BL_FIELDS(Outcome, a, b, c, d, e)
BL_FIELDS(FateEntry, a, b, c, d, e, f, g)
BL_FIELDS(FateRow, a, b)
BL_FIELDS(BatchHeader, a, b, c, d, e, f)
BL_FIELDS(BatchHeader::Row, a, b, c, d)
BL_FIELDS(Ledger, a, b, c, d, e, f, g)
BL_FIELDS(Sum128, a, b)
BL_FIELDS(Totals, a, b)
BL_FIELDS(IncarnationInfo, a, b, c, d, e, f)
BL_FIELDS(IncarnationInfo::LaneEnd, a, b)
BL_FIELDS(FeedRange, a, b, c, d, e)
BL_FIELDS(PendingRange, a, b, c, d)
BL_FIELDS(HighWater, a, b, c)
BL_FIELDS(JoinProgress, a, b, c)
BL_FIELDS(Introduction, a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p)
BL_FIELDS(Registration, a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q)
BL_FIELDS(Welcome, a, b)
BL_FIELDS(SnapshotHead, a, b, c, d, e)
BL_FIELDS(SnapshotEnd, a, b, c, d, e, f, g)
BL_FIELDS(Heartbeat, a, b, c, d, e, f, g, h, i)
BL_FIELDS(Progress, a, b)
BL_FIELDS(StreamAck, a, b)
BL_FIELDS(Anchor, a, b, c)
BL_FIELDS(Deltas, a, b)
BL_FIELDS(Deltas::Count, a, b, c)
BL_FIELDS(PendingEntry, a, b, c, d, e, f)
BL_FIELDS(OutboxBlock, a, b, c, d, e, f)
BL_FIELDS(KeyRow, a, b)
BL_FIELDS(ReplicaState, a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q)
BL_FIELDS(PendingLane, a, b)
BL_FIELDS(Decided, a, b)
BL_FIELDS(ReplicaState::LaneEnd, a, b)
BL_FIELDS(OriginState, a, b, c, d, e, f, g, h, i, j, k)
BL_FIELDS(WorkGap, a, b, c, d, e)
BL_FIELDS(ProgramSeen, a, b, c)
BL_FIELDS(PastLine, a, b)
BL_FIELDS(Reconciling, a, b, c, d, e, f)
BL_FIELDS(ReplicaHistory, a, b, c, d, e)
BL_FIELDS(StreamState, a, b, c, d)
BL_FIELDS(MasterState, a, b, c, d, e, f, g, h, i, j)
BL_FIELDS(SeedRow, a, b, c, d, e, f, g, h, i)
BL_FIELDS(TrimState, a, b, c, d)
BL_FIELDS(BranchProgress, a, b, c, d, e, f, g, h, i, j)
#undef BL_FIELDS

template <typename T>
concept Struct = requires(const T& x) { of(x); };

// --- Deep equality ---

template <typename T>
bool same(const T& x, const T& y);
template <typename T>
bool same(const std::vector<T>& x, const std::vector<T>& y);
template <typename T, size_t N>
bool same(const std::array<T, N>& x, const std::array<T, N>& y);
template <typename K, typename V>
bool same(const std::map<K, V>& x, const std::map<K, V>& y);
template <typename A, typename B>
bool same(const std::pair<A, B>& x, const std::pair<A, B>& y);

template <typename T>
bool same(const T& x, const T& y) {
  if constexpr (Struct<T>) {
    auto p = of(x), q = of(y);
    return [&]<size_t... I>(std::index_sequence<I...>) {
      return (same(std::get<I>(p), std::get<I>(q)) && ...);
    }(std::make_index_sequence<std::tuple_size_v<decltype(p)>>());
  } else {
    return x == y;
  }
}
template <typename T>
bool same(const std::vector<T>& x, const std::vector<T>& y) {
  if (x.size() != y.size()) return false;
  for (size_t i = 0; i < x.size(); ++i) {
    if (!same(x[i], y[i])) return false;
  }
  return true;
}
template <typename T, size_t N>
bool same(const std::array<T, N>& x, const std::array<T, N>& y) {
  for (size_t i = 0; i < N; ++i) {
    if (!same(x[i], y[i])) return false;
  }
  return true;
}
template <typename A, typename B>
bool same(const std::pair<A, B>& x, const std::pair<A, B>& y) {
  return same(x.first, y.first) && same(x.second, y.second);
}
template <typename K, typename V>
bool same(const std::map<K, V>& x, const std::map<K, V>& y) {
  if (x.size() != y.size()) return false;
  for (auto i = x.begin(), k = y.begin(); i != x.end(); ++i, ++k) {
    if (!same(i->first, k->first) || !same(i->second, k->second)) return false;
  }
  return true;
}

// --- Which fields a sample leaves at their default ---

// Fields are named by their place: "5[].3" is the fourth field of the elements of the sixth.
class Filled {
 public:
  template <typename T>
  void walk(const T& x, const std::string& path = "") {
    if constexpr (Struct<T>) {
      auto p = of(x);
      [&]<size_t... I>(std::index_sequence<I...>) {
        (walk(std::get<I>(p), path + (path.empty() ? "" : ".") + std::to_string(I)), ...);
      }(std::make_index_sequence<std::tuple_size_v<decltype(p)>>());
    } else {
      seen_[path] |= !(x == T{});
    }
  }
  template <typename T>
  void walk(const std::vector<T>& all, const std::string& path = "") {
    each(all, path);
  }
  template <typename K, typename V>
  void walk(const std::map<K, V>& all, const std::string& path = "") {
    seen_[path] |= !all.empty();
    for (const auto& [k, v] : all) {
      walk(k, path + "{key}");
      walk(v, path + "{}");
    }
  }
  template <typename A, typename B>
  void walk(const std::pair<A, B>& x, const std::string& path = "") {
    walk(x.first, path + "<first>");
    walk(x.second, path + "<second>");
  }
  template <typename T, size_t N>
    requires Struct<T>
  void walk(const std::array<T, N>& all, const std::string& path = "") {
    each(all, path);
  }

  // Paths that no element filled.
  std::vector<std::string> unfilled() const {
    std::vector<std::string> out;
    for (const auto& [path, filled] : seen_) {
      if (!filled) out.push_back(path);
    }
    return out;
  }

 private:
  template <typename List>
  void each(const List& all, const std::string& path) {
    seen_[path] |= !std::empty(all);
    for (const auto& x : all) walk(x, path + "[]");
  }
  std::map<std::string, bool> seen_;
};

template <typename T>
std::vector<std::string> unfilled(const T& sample) {
  Filled filled;
  filled.walk(sample);
  return filled.unfilled();
}

}  // namespace branchline::fields
