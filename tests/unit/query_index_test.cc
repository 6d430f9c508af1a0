// Queries that fit an index read little; queries that do not stay within bounds; pages neither skip
// nor repeat.
#include <set>

#include "branch/api/filter_parser.h"
#include "branch/crm/query.h"
#include "common/base/limits.h"
#include "tests/support/query_world.h"

using namespace branchline;
using namespace branchline::query_test;

namespace {

const TerritoryNumber kNoTerritories = [](const RecordId&) -> int64_t { return 0; };

Query query(const World& w, std::string_view entity, const std::string& filter,
            const std::string& order = "") {
  Query q;
  q.entity = &w.entity(entity);
  if (!filter.empty()) {
    auto e = parse_filter(filter, *q.entity, kNoTerritories);
    INFO(filter << ": " << refusal(e));
    REQUIRE(e);
    q.filter = std::move(*e);
  }
  std::string name = order;
  if (!order.empty()) {
    OrderBy o;
    o.descending = order.ends_with(" desc");
    if (o.descending) name.resize(name.size() - 5);
    o.column = *column_named(*q.entity, name);
    q.order.push_back(o);
  }
  return q;
}

QueryResult run(const World& w, const Query& q) {
  w.view->reset();
  auto r = run_query(w.context(), q);
  INFO(refusal(r));
  REQUIRE(r);
  return *r;
}

std::vector<RecordId> pages(const World& w, Query q,
                            const std::function<void(size_t page)>& between = {}) {
  std::vector<RecordId> out;
  for (size_t page = 0;; ++page) {
    QueryResult r = run(w, q);
    for (const auto& record : r.records) out.push_back(record.key().id);
    if (r.continue_at.empty()) return out;
    REQUIRE(page < 10'000);
    q.continue_at = r.continue_at;
    q.skip = 0;
    if (q.top) q.top = *q.top - r.records.size();
    if (between) between(page);
  }
}

// 2,000 accounts of 20 owners, contacts and orders among them.
void fill(World& w, int n = 2000) {
  for (int i = 0; i < n; ++i) {
    std::string k = std::to_string(i);
    w.created_ms = 1'700'000'000'000 + i * 60'000;
    w.add("account", "a" + k,
          {{"name", "Name " + std::to_string(i % 100)},
           {"accountnumber", "N" + k},
           {"ownerid", "systemuser:o" + std::to_string(i % 20)},
           {"statuscode", std::to_string(1 + i % 2)},
           {"address1_city", "City " + std::to_string(i % 7)}});
    w.add("contact", "c" + k,
          {{"lastname", "L" + k},
           {"fullname", "L" + k},
           {"parentcustomerid", "account:a" + std::to_string(i % 50)}});
    w.add("salesorder", "s" + k,
          {{"ordernumber", "S" + k},
           {"customerid",
            i % 2 ? "contact:c" + std::to_string(i % 40) : "account:a" + std::to_string(i % 40)}});
  }
}

}  // namespace

TEST_CASE("queries that fit an index do not scan", "[query]") {
  World w;
  fill(w);
  auto check = [&](std::string_view entity, const std::string& filter, size_t expected,
                   const char* plan, const std::string& order = "") {
    INFO(entity << ": " << filter);
    QueryResult r = run(w, query(w, entity, filter, order));
    CHECK(r.records.size() == expected);
    CHECK(r.plan == plan);
    CHECK(w.view->record_rows == 0);
    CHECK(w.view->gets <= expected + 2);
    CHECK(w.view->index_rows <= expected + 3);
  };
  check("account", "accountnumber eq 'N77'", 1, "index accountnumber");
  check("account", "accountnumber in ('N1','N2','absent')", 2, "index accountnumber");
  check("account", "accountid eq " + to_string(id_of("a5")), 1, "by id");
  check("account",
        "accountid in (" + to_string(id_of("a5")) + "," + to_string(id_of("nobody")) + ")", 1,
        "by id");
  check("account", "_ownerid_value eq " + to_string(id_of("o3")), 100, "index ownerid");
  check("account", "name eq 'name 7'", 20, "index name");
  check("contact", "_parentcustomerid_value eq " + to_string(id_of("a7")), 40,
        "index parentcustomerid");
  // A customer is an account or a contact: the id alone finds either.
  check("salesorder", "_customerid_value eq " + to_string(id_of("a6")), 50, "index customerid");
  check("salesorder", "_customerid_value eq " + to_string(id_of("c7")), 50, "index customerid");
  check("account",
        "statuscode eq 2 and createdon ge " + format_instant(1'700'000'000'000 + 1990 * 60'000ll),
        5, "index statuscode createdon");
  check("account",
        "statuscode eq 1 and createdon lt " + format_instant(1'700'000'000'000 + 10 * 60'000ll), 5,
        "index statuscode createdon", "createdon desc");
}

TEST_CASE("an index that fits the order serves the first page without reading the rest",
          "[query]") {
  World w;
  fill(w);
  for (const char* order : {"name", "name desc"}) {
    Query q = query(w, "account", "", order);
    q.page_size = 50;
    QueryResult r = run(w, q);
    CHECK(r.plan == "index name");
    CHECK(r.records.size() == 50);
    CHECK(w.view->gets <= 52);
  }
  // Numbers have no nulls in their index, so it cannot serve an order over all.
  CHECK(run(w, query(w, "account", "", "accountnumber")).plan == "scan of accounts, sorted");
}

TEST_CASE("an index is not asked for the nulls that it leaves out", "[query]") {
  World w;
  fill(w, 10);
  w.add("account", "numberless", {{"name", "None"}});
  w.add("contact", "orphan", {{"lastname", "Orphan"}});
  CHECK(run(w, query(w, "account", "accountnumber eq null")).records.size() == 1);
  CHECK(run(w, query(w, "account", "accountnumber in ('N1', null)")).records.size() == 2);
  CHECK(run(w, query(w, "contact", "_parentcustomerid_value eq null")).records.size() == 1);
  CHECK(run(w, query(w, "account", "_ownerid_value eq null")).records.size() == 1);
  CHECK(run(w, query(w, "account", "not (accountnumber eq 'N1')")).records.size() == 10);
}

TEST_CASE("whatever the plan, the answer is that of a scan", "[query]") {
  World w;
  fill(w, 300);
  w.add("account", "bare", {{"name", "Bare"}});
  w.add("account", "west", {{"name", "Name 1"}, {"accountnumber", "W1"}}, kWest);
  w.principal.everywhere = false;
  w.principal.territories = {kEast};
  for (const char* filter :
       {"name eq 'Name 1'", "name gt 'Name 5'", "name ge 'NAME 50' and name lt 'name 60'",
        "accountnumber eq 'W1'", "accountnumber gt 'N2' and accountnumber le 'N25'",
        "statuscode eq 1", "statuscode in (1,2) and createdon gt 2023-11-14T23:00:00Z",
        "statuscode eq 1 and createdon gt 2023-11-15T00:00:00Z and createdon le "
        "2023-11-15T01:00:00Z",
        "name eq 'Name 1' or name eq 'Name 2'", "not (name gt 'Name 5')", "name ne 'Name 1'",
        "accountnumber eq null or statuscode eq 2",
        "name in ('Name 1','Name 2') and statuscode eq 2"}) {
    for (const char* order :
         {"", "name", "name desc", "createdon", "accountnumber desc", "statuscode"}) {
      INFO(filter << " by " << order);
      Query q = query(w, "account", filter, order);
      q.page_size = 17;
      std::vector<RecordId> got = pages(w, q);
      std::set<RecordId> unique(got.begin(), got.end());
      CHECK(unique.size() == got.size());
      std::set<RecordId> expected;
      for (const auto& [key, value] : w.store.tables()[size_t(Table::records)]) {
        auto parsed = keys::parse_record(key);
        if (parsed->entity != entity_id::kAccount) continue;
        Record record = *Record::decode(*parsed, value);
        if (may_read(w.principal, *q.entity, record) && holds(q.filter, record))
          expected.insert(record.key().id);
      }
      CHECK(unique == expected);
    }
  }
}

TEST_CASE("pages keep order, top and skip", "[query]") {
  World w;
  fill(w, 300);
  Query q = query(w, "account", "", "createdon desc");
  q.page_size = 7;
  q.skip = 5;
  q.top = 40;
  std::vector<RecordId> got = pages(w, q);
  REQUIRE(got.size() == 40);
  for (int i = 0; i < 40; ++i) CHECK(got[size_t(i)] == id_of("a" + std::to_string(299 - 5 - i)));
  q.top = 0;
  CHECK(pages(w, q).empty());
  q.top = std::nullopt;
  q.skip = 1000;
  CHECK(pages(w, q).empty());
}

TEST_CASE("records that stay are met exactly once while others come and go", "[query]") {
  for (const char* order : {"", "name", "address1_city"}) {
    World w;
    fill(w, 200);
    std::vector<Record> passing;
    for (int i = 0; i < 100; ++i)
      passing.push_back(
          w.add("account", "p" + std::to_string(i), {{"name", "Name " + std::to_string(i)}}));
    Query q = query(w, "account", "", order);
    q.page_size = 10;
    std::vector<RecordId> got = pages(w, q, [&](size_t page) {
      for (size_t i = 0; i < 5 && page * 5 + i < passing.size(); ++i)
        w.erase(passing[page * 5 + i]);
      if (page < 50)
        w.add("account", "new" + std::to_string(page),
              {{"name", "Name " + std::to_string(page % 9)}, {"address1_city", "City 3"}});
    });
    std::set<RecordId> unique(got.begin(), got.end());
    CHECK(unique.size() == got.size());
    for (int i = 0; i < 200; ++i) CHECK(unique.count(id_of("a" + std::to_string(i))) == 1);
  }
}

TEST_CASE("a page may be asked for after the replica changed sides", "[query]") {
  World w;
  fill(w, 30);
  Query q = query(w, "account", "", "name");
  q.page_size = 10;
  QueryResult first = run(w, q);
  World other;
  other.side = 1;
  fill(other, 30);
  q.continue_at = first.continue_at;
  std::vector<RecordId> rest = pages(other, q);
  CHECK(rest.size() == 20);
  for (const auto& r : first.records)
    CHECK(std::find(rest.begin(), rest.end(), r.key().id) == rest.end());
}

TEST_CASE("a continuation of another query is refused", "[query]") {
  World w;
  fill(w, 100);
  Query by_name = query(w, "account", "", "name"),
        by_city = query(w, "account", "", "address1_city"), plain = query(w, "account", "");
  Query owner = query(w, "account", "_ownerid_value eq " + to_string(id_of("o1")));
  std::vector<std::pair<const char*, std::string>> tokens;
  for (auto [name, q] :
       {std::pair{"name", &by_name}, {"city", &by_city}, {"plain", &plain}, {"owner", &owner}}) {
    Query small = *q;
    small.page_size = 1;
    tokens.emplace_back(name, run(w, small).continue_at);
    REQUIRE_FALSE(tokens.back().second.empty());
  }
  for (auto [name, q] :
       {std::pair{"name", &by_name}, {"city", &by_city}, {"plain", &plain}, {"owner", &owner}}) {
    for (const auto& [from, token] : tokens) {
      INFO(from << " in " << name);
      Query with = *q;
      with.continue_at = token;
      auto r = run_query(w.context(), with);
      CHECK(bool(r) == (std::string_view(from) == name));
      if (!r) CHECK(r.error().code == "query.continuation");
    }
    for (const std::string& junk :
         {std::string("k"), std::string("x"), std::string("r"), std::string("s"),
          std::string("x\xff\xff\xff"), std::string("r\xff\xff\xff"), std::string(1, '\0')}) {
      Query with = *q;
      with.continue_at = junk;
      auto r = run_query(w.context(), with);
      if (!r) CHECK(r.error().code == "query.continuation");
    }
  }
}

TEST_CASE("a query without an index holds no more than its page", "[query]") {
  World w;
  fill(w);
  Query q = query(w, "account", "address1_city eq 'City 3'", "address1_city");
  q.page_size = 10;
  QueryResult r = run(w, q);
  CHECK(r.records.size() == 10);
  CHECK(r.plan == "scan of accounts, sorted");
  CHECK(w.view->record_rows <= 2001);
  q.skip = limits::kMaxSortedRows;
  auto far = run_query(w.context(), q);
  REQUIRE_FALSE(far);
  CHECK(far.error().code == "query.sort");
  CHECK_THAT(far.error().message, Catch::Contains("narrow the $filter"));
}

TEST_CASE("a page of large records ends early and goes on", "[query]") {
  World w;
  std::string note(500'000, 'x');
  Version v;
  v.id = {OriginId(1), Incarnation(7), Lane::interactive, Seq(1)};
  for (int i = 0; i < 40; ++i) {
    Record r =
        w.make("account", "big" + std::to_string(i), {{"name", "B"}, {"address1_city", "C"}});
    r.set(w.entity("account").field("description")->id, v, {ValueType::text, note});
    Batch batch;
    batch.put(Table::records, keys::record(0, r.key()), r.encode());
    for (const auto& key : index_keys(r, &w.entity("account"), 0, IndexScope::all))
      batch.put(Table::index, key, "");
    REQUIRE(w.store.write(batch, Sync::yes));
  }
  for (const char* order : {"", "name", "address1_city"}) {
    INFO(order);
    Query q = query(w, "account", "", order);
    QueryResult r = run(w, q);
    CHECK(r.records.size() <= limits::kMaxPageBytes / note.size() + 1);
    CHECK_FALSE(r.continue_at.empty());
    CHECK(pages(w, q).size() == 40);
  }
}

TEST_CASE("$count counts all that match, whatever the page", "[query]") {
  World w;
  fill(w, 300);
  for (const char* order : {"", "name", "address1_city"}) {
    Query q = query(w, "account", "statuscode eq 1", order);
    q.count = true;
    q.top = 3;
    q.skip = 2;
    QueryResult r = run(w, q);
    CHECK(r.records.size() == 3);
    CHECK(r.count == 150u);
    q.top = 0;
    CHECK(run(w, q).count == 150u);
  }
}
