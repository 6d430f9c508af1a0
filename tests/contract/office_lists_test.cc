// Lists of the OData dialect against a real server: conditions, pages while others write,
// expansion, aggregation.
#include <catch2/catch.hpp>
#include <cmath>
#include <set>

#include "tests/contract/office_fixture.h"

using namespace office_test;

namespace {

Client east() { return Company::get().east(); }

}  // namespace

TEST_CASE("lists: conditions, order, pages, counts", "[api]") {
  Client c = east();
  std::string parent = c.create("accounts", R"({"name":"Listing"})"),
              of = "_parentcustomerid_value eq " + parent;
  std::set<std::string> made;
  for (int i = 0; i < 57; ++i) {
    made.insert(c.create("contacts",
                         "{\"lastname\":\"L" + std::to_string(i % 10) + "\",\"firstname\":\"F" +
                             std::to_string(i) + "\",\"numberofchildren\":" + std::to_string(i) +
                             ",\"parentcustomerid@odata.bind\":\"/accounts(" + parent + ")\"}"));
  }
  CHECK(c.get("contacts/$count?$filter=" + of).body == "57");
  CHECK(c.get("contacts/$count?$filter=" + of + " and numberofchildren lt 5").body == "5");
  Answer top = c.get(
      "contacts?$select=numberofchildren&$filter=" + of +
      " and startswith(lastname,'l3')&$orderby=numberofchildren desc&$top=2&$skip=1&$count=true");
  CHECK(text_of(top.object()["@odata.count"]) == "6");
  REQUIRE(top.rows().size() == 2);
  CHECK(text_of(top.rows()[0].at("numberofchildren")) == "43");
  CHECK(text_of(top.rows()[1].at("numberofchildren")) == "33");
  CHECK_FALSE(top.object().contains("@odata.nextLink"));

  // From page to page, while others write between: what stays is met once.
  for (const std::string& query :
       {"contacts?$filter=" + of, "contacts?$count=true&$orderby=firstname desc&$filter=" + of,
        "contacts?$orderby=fullname&$filter=" + of,
        "accounts(" + parent + ")/contact_customer_accounts?$select=lastname"}) {
    INFO(query);
    std::set<std::string> seen;
    Answer page =
        c.get(query, {{"Prefer", "odata.maxpagesize=10,odata.include-annotations=\"*\""}});
    CHECK(page.header("preference-applied") == "odata.maxpagesize=10");
    for (int pages = 0;; ++pages) {
      REQUIRE(page.status == 200);
      REQUIRE(pages < 20);
      CHECK(page.rows().size() <= 10);
      for (const auto& r : page.rows()) {
        std::string id = text_of(r.at("contactid"));
        CHECK(seen.insert(id).second);
      }
      json::object o = page.object();
      if (!o.contains("@odata.nextLink")) break;
      c.create("contacts", "{\"lastname\":\"Other\",\"parentcustomerid@odata.bind\":\"/accounts(" +
                               parent + ")\",\"description\":\"passing\"}");
      std::string link = text_of(o["@odata.nextLink"]);
      size_t path = link.find('/', 8);
      page = request(c.port, "GET", link.substr(path), {},
                     {{"Authorization", "Bearer " + c.token}, {"Prefer", "odata.maxpagesize=10"}});
    }
    for (const auto& id : made) CHECK(seen.count(id) == 1);
    for (const auto& r :
         c.get("contacts?$select=contactid&$filter=description eq 'passing' and " + of).rows()) {
      CHECK(c.remove("contacts(" + text_of(r.at("contactid")) + ")").status == 204);
    }
  }
  // $top over several pages.
  size_t rows = 0;
  Answer page = c.get("contacts?$top=25&$filter=" + of, {{"Prefer", "odata.maxpagesize=10"}});
  for (int pages = 0; pages < 5; ++pages) {
    rows += page.rows().size();
    json::object o = page.object();
    if (!o.contains("@odata.nextLink")) break;
    std::string link = text_of(o["@odata.nextLink"]);
    page = request(c.port, "GET", link.substr(link.find('/', 8)), {},
                   {{"Authorization", "Bearer " + c.token}, {"Prefer", "odata.maxpagesize=10"}});
  }
  CHECK(rows == 25);
  json::array annotated =
      c.get("contacts?$top=1&$filter=" + of, {{"Prefer", "odata.include-annotations=\"*\""}})
          .rows();
  CHECK(text_of(annotated[0].at(
            "_parentcustomerid_value@OData.Community.Display.V1.FormattedValue")) == "Listing");
  CHECK(text_of(annotated[0].at("statecode@OData.Community.Display.V1.FormattedValue")) ==
        "Active");
}

TEST_CASE("$expand, both ways", "[api]") {
  Client c = east();
  std::string account = c.create("accounts", R"({"name":"Parent"})");
  std::string bind = "\"parentcustomerid@odata.bind\":\"/accounts(" + account + ")\"";
  std::string one = c.create("contacts", "{\"lastname\":\"One\"," + bind + "}");
  c.create("contacts", "{\"lastname\":\"Two\"," + bind + "}");
  json::array up = c.get(
                        "contacts?$select=lastname&$expand=parentcustomerid_account($select=name)&$"
                        "filter=contactid eq " +
                        one)
                       .rows();
  CHECK(text_of(up[0].at("parentcustomerid_account").at("name")) == "Parent");
  json::object down = c.get("accounts(" + account +
                            ")?$select=name&$expand=contact_customer_accounts($select=lastname;$"
                            "orderby=lastname desc;$top=1),ownerid($select=fullname)")
                          .object();
  REQUIRE(down["contact_customer_accounts"].as_array().size() == 1);
  CHECK(text_of(down["contact_customer_accounts"].as_array()[0].at("lastname")) == "Two");
  CHECK(text_of(down["ownerid"].at("fullname")) == "wanda");
  refused(c.get("accounts?$expand=nothing"), 400, "there are: ");
}

TEST_CASE("$apply shows a territory as reads do", "[api]") {
  Client hq = Company::get().hq();
  for (const char* name : {"east", "west"}) {
    hq.create("accounts",
              std::string("{\"name\":\"Place\",\"Branchline.territory\":\"") + name + "\"}");
  }
  std::vector<std::string> read;
  for (const json::value& r : hq.get("accounts?$filter=name eq 'Place'").rows())
    read.push_back(text_of(r.as_object().at("_territoryid_value")));
  std::sort(read.begin(), read.end());
  REQUIRE(read.size() == 2);
  std::string of = "accounts?$apply=filter(name eq 'Place')/";
  std::vector<std::string> grouped;
  for (const json::value& r :
       hq.get(of + "groupby((_territoryid_value),aggregate($count as n))").rows()) {
    grouped.push_back(text_of(r.as_object().at("_territoryid_value")));
    CHECK(text_of(r.as_object().at("n")) == "1");
  }
  CHECK(grouped == read);
  json::object ends = hq.get(of +
                             "aggregate(_territoryid_value with min as lo,_territoryid_value "
                             "with max as hi,_territoryid_value with countdistinct as n)")
                          .rows()
                          .at(0)
                          .as_object();
  CHECK(text_of(ends["lo"]) == read[0]);
  CHECK(text_of(ends["hi"]) == read[1]);
  CHECK(text_of(ends["n"]) == "2");
}

TEST_CASE("$apply agrees with a computation of the test's own", "[api]") {
  Client c = east();
  std::string account = c.create("accounts", R"({"name":"Sums"})");
  struct Sum {
    int64_t n = 0, cents = 0, lo = INT64_MAX, hi = INT64_MIN;
    std::set<std::string> titles;
  };
  std::map<int, Sum> expected;
  uint32_t x = 12345;
  for (int i = 0; i < 80; ++i) {
    x = x * 1103515245 + 12345;
    int kind = int(x >> 16) % 3 + 1;
    int64_t cents = int64_t(x >> 8) % 100'000 - 20'000;
    std::string title = "T" + std::to_string(x >> 28);
    Sum& s = expected[kind];
    ++s.n;
    s.cents += cents;
    s.lo = std::min(s.lo, cents);
    s.hi = std::max(s.hi, cents);
    s.titles.insert(title);
    std::string amount = (cents < 0 ? "-" : "") + std::to_string(std::abs(cents) / 100) + "." +
                         (std::abs(cents) % 100 < 10 ? "0" : "") +
                         std::to_string(std::abs(cents) % 100);
    c.create("accounts", "{\"name\":\"" + title + "\",\"customertypecode\":" +
                             std::to_string(kind) + ",\"revenue\":" + amount +
                             ",\"parentaccountid@odata.bind\":\"/accounts(" + account + ")\"}");
  }
  Answer a = c.get("accounts?$apply=filter(_parentaccountid_value eq " + account +
                   ")/groupby((customertypecode),aggregate($count as n,revenue with sum as "
                   "total,revenue with min as lo,revenue with max as hi,"
                   "revenue with average as mean,name with countdistinct as names))");
  INFO(a.body);
  REQUIRE(a.status == 200);
  REQUIRE(a.rows().size() == expected.size());
  auto cents = [](const json::value& v) { return std::llround(v.to_number<double>() * 100); };
  for (const auto& row : a.rows()) {
    const Sum& s = expected.at(int(row.at("customertypecode").as_int64()));
    CHECK(row.at("n").as_int64() == s.n);
    CHECK(cents(row.at("total")) == s.cents);
    CHECK(cents(row.at("lo")) == s.lo);
    CHECK(cents(row.at("hi")) == s.hi);
    CHECK(std::abs(row.at("mean").to_number<double>() - double(s.cents) / 100 / double(s.n)) <
          1e-6);
    CHECK(row.at("names").as_int64() == int64_t(s.titles.size()));
  }
  Answer outer = c.get("accounts?$filter=_parentaccountid_value eq " + account +
                       "&$apply=aggregate($count as n)");
  CHECK(outer.rows()[0].at("n").as_int64() == 80);
  refused(c.get("accounts?$apply=groupby((nmae))"), 400, "position 10");
  refused(c.get("accounts?$apply=aggregate($count as n)&$top=1"), 400, "beside $apply");
}
