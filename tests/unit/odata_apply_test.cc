#include "branch/api/apply_parser.h"

#include "common/base/limits.h"
#include "tests/support/query_world.h"

using namespace branchline;
using namespace branchline::query_test;

namespace {

const TerritoryNumber kNoTerritories = [](const RecordId&) -> int64_t { return 0; };

Result<ApplyPlan> parse(const World& w, std::string_view text,
                        std::string_view entity = "salesorderdetail") {
  return parse_apply(text, w.entity(entity), kNoTerritories);
}

std::string shown(const OwnedValue& v) {
  std::string out;
  append_json_value(out, v.view());
  return out;
}

// Rows as "group,..|value,.." in the order given.
std::vector<std::string> rows(const World& w, std::string_view text,
                              std::string_view entity = "salesorderdetail") {
  auto plan = parse(w, text, entity);
  INFO(text << ": " << refusal(plan));
  REQUIRE(plan);
  plan->territory_id = [](TerritoryId t) { return id_of(t == kEast ? "east" : "west"); };
  auto result = run_apply(w.context(), *plan);
  REQUIRE(result);
  std::vector<std::string> out;
  for (const auto& row : *result) {
    std::string line;
    for (const auto& g : row.groups) line += shown(g) + ",";
    line += "|";
    for (const auto& v : row.values) line += shown(v) + ",";
    out.push_back(line);
  }
  return out;
}

}  // namespace

TEST_CASE("$apply filters, groups and aggregates", "[odata][apply]") {
  World w;
  w.add("salesorderdetail", "1",
        {{"productdescription", "Chair"},
         {"quantity", "2"},
         {"profit", "10.10"},
         {"lineitemnumber", "1"}});
  w.add("salesorderdetail", "2",
        {{"productdescription", "Chair"},
         {"quantity", "3"},
         {"profit", "-0.20"},
         {"lineitemnumber", "1"}});
  w.add("salesorderdetail", "3",
        {{"productdescription", "Desk"}, {"quantity", "0.5"}, {"profit", "0.01"}});
  w.add("salesorderdetail", "4", {{"productdescription", "Desk"}});
  w.add("salesorderdetail", "5", {{"quantity", "7"}, {"lineitemnumber", "9"}});

  CHECK(rows(w, "aggregate($count as n)") == std::vector<std::string>{"|5,"});
  CHECK(rows(w,
             "aggregate(quantity with sum as s,quantity with min as lo,quantity with max as "
             "hi,quantity with average as av,"
             "productdescription with countdistinct as kinds)") ==
        std::vector<std::string>{"|12.5,0.5,7,3.125,2,"});
  CHECK(rows(w, "aggregate(profit with sum as s)") == std::vector<std::string>{"|9.91,"});
  CHECK(rows(w, "groupby((productdescription))") ==
        std::vector<std::string>{"null,|", "\"Chair\",|", "\"Desk\",|"});
  CHECK(rows(w, "groupby((productdescription),aggregate($count as n,quantity with sum as q))") ==
        std::vector<std::string>{"null,|1,7,", "\"Chair\",|2,5,", "\"Desk\",|2,0.5,"});
  CHECK(rows(w,
             " filter( quantity ge 2 and not (productdescription eq null) ) / groupby( ( "
             "productdescription , lineitemnumber ) , "
             "aggregate( $count as n ) ) ") == std::vector<std::string>{"\"Chair\",1,|2,"});
  CHECK(rows(w, "filter(quantity gt 0)/filter(quantity lt 3)/aggregate($count as n)") ==
        std::vector<std::string>{"|2,"});
  CHECK(rows(w,
             "filter(productdescription eq 'a)b''(c')/aggregate($count as n,quantity with sum as "
             "s,quantity with average as a)") == std::vector<std::string>{"|0,null,null,"});
}

TEST_CASE("$apply rounds averages half away from zero at the last decimal", "[odata][apply]") {
  auto average = [](std::initializer_list<const char*> quantities) {
    World w;
    int n = 0;
    for (const char* q : quantities)
      w.add("salesorderdetail", std::to_string(++n), {{"quantity", q}});
    return rows(w, "aggregate(quantity with average as a)").at(0);
  };
  CHECK(average({"1", "1", "0"}) == "|0.6666666667,");
  CHECK(average({"-1", "-1", "0"}) == "|-0.6666666667,");
  CHECK(average({"1", "0", "0"}) == "|0.3333333333,");
  CHECK(average({"0.0000000001", "0"}) == "|0.0000000001,");
  CHECK(average({"-0.0000000001", "0"}) == "|-0.0000000001,");
  CHECK(average({"0.0000000002", "0.0000000003"}) == "|0.0000000003,");
  CHECK(average({"0.9999999999", "1"}) == "|1,");
  CHECK(average({"2", "4"}) == "|3,");
  // Where all ten decimals have no room, as many as have.
  CHECK(average({"9000000001", "9000000000", "9000000001"}) == "|9000000000.666666667,");
  CHECK(average({"-9000000001", "-9000000000", "-9000000001"}) == "|-9000000000.666666667,");
}

TEST_CASE("$apply sees what its reader may read", "[odata][apply]") {
  World w;
  w.add("account", "e", {{"name", "E"}}, kEast);
  w.add("account", "w", {{"name", "W"}}, kWest);
  w.principal.everywhere = false;
  w.principal.territories = {kEast};
  CHECK(rows(w, "aggregate($count as n)", "account") == std::vector<std::string>{"|1,"});
}

TEST_CASE("$apply says where it is wrong", "[odata][apply]") {
  World w;
  struct Case {
    const char* text;
    int position;
    const char* what;
  };
  for (const Case& c : {
           Case{"", 1, "expected filter(..)"},
           Case{"sort(name)", 1, "`sort` is none of"},
           Case{"filter(quantity gt 1)", 22, "name groupby"},
           Case{"filter(quantity gt 1)/", 23, "expected filter(..)"},
           Case{"filter(quantity gt )/aggregate($count as n)", 20, "expected a value"},
           Case{"filter(quantity gt 1/aggregate($count as n)", 7, "not closed"},
           Case{"filter(nope eq 1)/aggregate($count as n)", 8, "nope"},
           Case{"aggregate($count as n)/groupby((quantity))", 24, "nothing may follow"},
           Case{"aggregate($count as n)groupby((quantity))", 23, "separated by /"},
           Case{"aggregate()", 11, "expected a property"},
           Case{"aggregate(quantity as q)", 20, "with method"},
           Case{"aggregate(quantity with mean as q)", 25, "`mean` is none of"},
           Case{"aggregate(quantity with sum)", 28, "expected `as`"},
           Case{"aggregate(quantity with sum as )", 32, "expected a name"},
           Case{"aggregate($count as n,$count as n)", 33, "given twice"},
           Case{"aggregate(productdescription with sum as n)", 11, "needs a number"},
           Case{"aggregate(quantitty with sum as n)", 11, "did you mean quantity?"},
           Case{"groupby(quantity)", 9, "expected `(`"},
           Case{"groupby((quantity,quantity))", 19, "given twice"},
           Case{"groupby((quantity),filter(quantity gt 1))", 20, "expected aggregate(..)"},
           Case{"groupby((quantity),aggregate($count as n)", 42, "expected `)`"},
       }) {
    INFO(c.text);
    auto plan = parse(w, c.text);
    REQUIRE_FALSE(plan);
    CHECK_THAT(plan.error().message,
               Catch::Contains("$apply, position " + std::to_string(c.position) + ":") &&
                   Catch::Contains(c.what));
  }
  CHECK_THAT(refusal(parse(w, "groupby((tags))", "account")), Catch::Contains("collection"));
  CHECK_THAT(refusal(parse(w, "aggregate(_territoryid_value with sum as s)", "account")),
             Catch::Contains("needs a number"));
}

TEST_CASE("$apply has bounds", "[odata][apply]") {
  World w;
  std::string many = "aggregate($count as a0";
  for (int i = 1; i < 65; ++i) many += ",$count as a" + std::to_string(i);
  CHECK_FALSE(parse(w, many + ")"));
  CHECK_FALSE(parse(w, "filter(" + std::string(50'000, '(')));
  w.add("account", "big", {{"name", "x"}, {"loyaltypoints", "9223372036854775807"}});
  w.add("account", "bigger", {{"name", "x"}, {"loyaltypoints", "9223372036854775807"}});
  auto plan = parse(w, "aggregate(loyaltypoints with sum as s)", "account");
  REQUIRE(plan);
  auto result = run_apply(w.context(), *plan);
  REQUIRE_FALSE(result);
  CHECK(result.error().code == "apply.range");
}
