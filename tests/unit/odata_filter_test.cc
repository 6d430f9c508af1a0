#include "branch/api/filter_parser.h"

#include "common/base/limits.h"
#include "tests/support/query_world.h"

using namespace branchline;
using namespace branchline::query_test;

namespace {

const TerritoryNumber kTerritories = [](const RecordId& id) -> int64_t {
  return id == id_of("territory east") ? 2 : 0;
};

Result<Expression> parse(const World& w, std::string_view text,
                         std::string_view entity = "account") {
  return parse_filter(text, w.entity(entity), kTerritories);
}

bool matches(const World& w, const Record& record, std::string_view text) {
  auto e = parse(w, text, w.schema->entity(record.key().entity)->name);
  INFO(text << ": " << refusal(e));
  REQUIRE(e);
  return holds(*e, record);
}

}  // namespace

TEST_CASE("$filter compares values of every type", "[odata][filter]") {
  World w;
  Record a = w.make("account", "a",
                    {{"name", "Contoso"},
                     {"creditlimit", "1000.50"},
                     {"numberofemployees", "12"},
                     {"customertypecode", "2"},
                     {"lastcontacted", "2024-03-01T10:00:00Z"},
                     {"ownerid", "systemuser:anna"},
                     {"emailaddress1", "info@contoso.example"}});
  for (const char* yes : {"name eq 'Contoso'",
                          "name eq 'CONTOSO'",
                          "name ne 'Fabrikam'",
                          "name gt 'Alpha'",
                          "name lt 'Zebra'",
                          "creditlimit eq 1000.5",
                          "creditlimit gt 1000.49",
                          "creditlimit ge 1000.50",
                          "creditlimit lt 1000.51",
                          "creditlimit le 1000.50",
                          "numberofemployees eq 12",
                          "numberofemployees gt -3",
                          "customertypecode eq 2",
                          "customertypecode ne 7",
                          "lastcontacted eq 2024-03-01T10:00:00Z",
                          "lastcontacted ge 2024-03-01",
                          "lastcontacted eq 2024-03-01T11:00:00+01:00",
                          "lastcontacted lt 2024-03-01T10:00:00.001Z",
                          "statecode eq 0",
                          "emailaddress1 eq 'info@contoso.example'",
                          "name in ('x', 'Contoso')",
                          "numberofemployees in (1,12)"}) {
    INFO(yes);
    CHECK(matches(w, a, yes));
  }
  for (const char* no : {"name eq 'Contos'", "creditlimit gt 1000.5", "numberofemployees lt 12",
                         "lastcontacted gt 2024-03-01T10:00:00Z", "name in ('x','y')",
                         "statecode eq 1", "name ne 'contoso'"}) {
    INFO(no);
    CHECK_FALSE(matches(w, a, no));
  }
  std::string owner = to_string(id_of("anna"));
  CHECK(matches(w, a, "_ownerid_value eq " + owner));
  CHECK(matches(w, a, "_ownerid_value eq '" + owner + "'"));
  CHECK(matches(w, a, "_ownerid_value ne " + to_string(id_of("bert"))));
  CHECK(matches(w, a, "accountid eq " + to_string(id_of("a"))));
  CHECK(matches(w, a, "accountid le " + to_string(id_of("a"))));
  CHECK_FALSE(matches(w, a, "accountid gt " + to_string(id_of("a"))));
  CHECK(matches(w, a, "_territoryid_value eq " + to_string(id_of("territory east"))));
  CHECK_FALSE(matches(w, a, "_territoryid_value eq " + to_string(id_of("nowhere"))));
  CHECK(matches(w, a, "createdon eq 2023-11-14T22:13:20Z"));
}

TEST_CASE("$filter knows null as OData does", "[odata][filter]") {
  World w;
  Record a = w.make("account", "a", {{"name", "A"}});
  for (const char* yes :
       {"telephone1 eq null", "name ne null", "telephone1 ne '1'", "not (creditlimit gt 5)",
        "telephone1 in ('1', null)", "_ownerid_value eq null", "creditlimit eq revenue"}) {
    INFO(yes);
    CHECK(matches(w, a, yes));
  }
  for (const char* no : {"telephone1 ne null", "name eq null", "creditlimit gt 5",
                         "creditlimit le 5", "telephone1 eq ''", "contains(telephone1,'1')",
                         "creditlimit lt revenue", "_ownerid_value ne null"}) {
    INFO(no);
    CHECK_FALSE(matches(w, a, no));
  }
}

TEST_CASE("$filter: not binds before and, and before or", "[odata][filter]") {
  World w;
  Record a = w.make("account", "a", {{"name", "A"}, {"numberofemployees", "1"}});
  CHECK(matches(w, a, "name eq 'A' or name eq 'B' and name eq 'C'"));
  CHECK_FALSE(matches(w, a, "(name eq 'A' or name eq 'B') and name eq 'C'"));
  CHECK_FALSE(matches(w, a, "not name eq 'A' and name eq 'C'"));
  CHECK(matches(w, a, "not name eq 'B' and name eq 'A'"));
  CHECK(matches(w, a, "not (name eq 'A' and name eq 'C')"));
  CHECK(matches(w, a, "not not name eq 'A'"));
  CHECK(matches(w, a, "((((numberofemployees eq 1))))"));
}

TEST_CASE("$filter's text functions do not mind case or script", "[odata][filter]") {
  World w;
  Record a =
      w.make("account", "a", {{"name", "Müller & Söhne O'Brien"}, {"address1_city", "Αθήνα"}});
  for (const char* yes :
       {"contains(name,'SÖHNE')", "startswith(name, 'müller')", "endswith(name,'o''brien')",
        "contains(name,'')", "contains( name , '& ')", "name eq 'müller & söhne o''brien'",
        "contains(address1_city,'ΘΉΝ')"}) {
    INFO(yes);
    CHECK(matches(w, a, yes));
  }
  // eq knows letters as the order of lists does, text functions as Unicode folds them.
  Record b = w.make("account", "b", {{"name", "Straße Café"}});
  for (const char* yes :
       {"contains(name,'STRASSE CAFÉ')", "startswith(name,'STRASSE')", "name eq 'STRAẞE CAFÉ'",
        "name in ('straße café')", "name ne 'STRASSE CAFÉ'", "name ne 'Straße Cafe'"}) {
    INFO(yes);
    CHECK(matches(w, b, yes));
  }
  CHECK_FALSE(matches(w, a, "startswith(name,'Söhne')"));
  CHECK_FALSE(matches(w, a, "contains(name,'Sohne')"));
}

TEST_CASE("$filter says where it is wrong, and what was expected", "[odata][filter]") {
  World w;
  struct Case {
    const char* text;
    const char* where;
    const char* what;
  };
  for (const Case& c : {
           Case{"", "position 1", "expected a property"},
           Case{"name", "position 5", "found the end"},
           Case{"name eq", "position 8", "expected a value"},
           Case{"name eq 'x", "position 9", "closing quote"},
           Case{"name eq 'x' name", "position 13", "expected `and`, `or`"},
           Case{"nmae eq 'x'", "position 1", "did you mean name?"},
           Case{"name like 'x'", "position 6", "expected eq, ne"},
           Case{"name eq 5", "position 9", "write '5'"},
           Case{"(name eq 'x'", "position 13", "expected `)`"},
           Case{"name eq 'x')", "position 12", "expected `and`"},
           Case{"name in 'x'", "position 9", "expected `(`"},
           Case{"name in ('x'", "position 13", "expected `,` or `)`"},
           Case{"contains(name)", "position 14", "expected `,`"},
           Case{"contains(creditlimit,'1')", "position 10", "needs a text property"},
           Case{"contains(name,5)", "position 15", "quoted text"},
           Case{"creditlimit gt 'abc'", "position 16", "creditlimit"},
           Case{"numberofemployees eq 1.5", "position 22", "whole number"},
           Case{"lastcontacted gt 2024-13-01", "position 18", "YYYY-MM-DDTHH:MM:SSZ"},
           Case{"accountid eq 12", "position 14", "is no id"},
           Case{"ownerid eq 12", "position 1", "write _ownerid_value"},
           Case{"tags eq 'x'", "position 1", "collection"},
           Case{"name eq 'x' # 1", "position 13", "unexpected character"},
           Case{"name eq creditlimit", "position 9", "another type"},
           Case{"address1_city eq 'Αθήνα' and nope eq 1", "position 30", "nope"},
       }) {
    INFO(c.text);
    auto e = parse(w, c.text);
    REQUIRE_FALSE(e);
    CHECK(e.error().kind == ErrorKind::invalid);
    CHECK(e.error().code == "filter.malformed");
    CHECK_THAT(e.error().message, Catch::Contains(std::string("$filter, ") + c.where + ":") &&
                                      Catch::Contains(c.what));
  }
  auto order = parse(w, "_customerid_value gt " + to_string(id_of("x")), "salesorder");
  CHECK_THAT(refusal(order), Catch::Contains("position 19") && Catch::Contains("has no order"));
}

TEST_CASE("$filter has bounds", "[odata][filter]") {
  World w;
  auto nested = [](size_t n) { return std::string(n, '(') + "name eq 'x'" + std::string(n, ')'); };
  CHECK(parse(w, nested(limits::kMaxFilterDepth)));
  CHECK_THAT(refusal(parse(w, nested(limits::kMaxFilterDepth + 1))), Catch::Contains("deeper"));
  CHECK_FALSE(parse(w, nested(100'000)));
  std::string many = "name eq 'x'";
  for (size_t i = 1; i < limits::kMaxFilterTerms; ++i) many += " or name eq 'x'";
  CHECK(parse(w, many));
  CHECK_THAT(refusal(parse(w, many + " or name eq 'x'")), Catch::Contains("more than"));
  std::string nots;
  for (int i = 0; i < 50'000; ++i) nots += "not ";
  CHECK_FALSE(parse(w, nots + "name eq 'x'"));
  CHECK(refusal(parse(w, "name eq " + std::string(20'000, 'y'))).size() < 500);
}

TEST_CASE("no prefix and no single broken byte of a condition does harm", "[odata][filter]") {
  World w;
  Record a = w.make("account", "a", {{"name", "A"}});
  std::string good =
      "not (contains(name,'O''B') or creditlimit ge -12.50) and createdon lt 2024-01-01T00:00:00Z "
      "and name in ('a',null)";
  REQUIRE(parse(w, good));
  size_t accepted = 0, refused = 0;
  for (size_t i = 0; i < good.size(); ++i) {
    for (std::string text :
         {good.substr(0, i), good.substr(0, i) + good.substr(i + 1),
          good.substr(0, i) + "\x01" + good.substr(i), good.substr(0, i) + "'" + good.substr(i),
          good.substr(0, i) + ")" + good.substr(i)}) {
      auto e = parse(w, text);
      ++(e ? accepted : refused);
      if (e) {
        holds(*e, a);
      } else {
        CHECK_THAT(e.error().message, Catch::Contains("position"));
      }
    }
  }
  CHECK(refused > accepted);
}
