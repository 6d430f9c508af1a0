// POST Merge, and what the office's HTTP interface answers for the id that is no record of its own
// any more.
#include <catch2/catch.hpp>

#include "tests/support/live_office.h"

namespace branchline {
namespace {

struct MergeRequests {
  SmallWorld world;
  SmallOffice& east = world["east"];
  std::unique_ptr<LiveOffice> office;
  std::string a, b, c;

  MergeRequests() {
    REQUIRE(east.write("create account a @common name=A telephone1=1") == "ok");
    REQUIRE(east.write("create account b @common name=B telephone2=2 loyaltypoints+=7 "
                       "accountnumber=N1") == "ok");
    REQUIRE(east.write("create contact c lastname=C parentcustomerid=b") == "ok");
    REQUIRE(east.write("create account e @east name=E") == "ok");
    a = id("a");
    b = id("b");
    c = id("c");
    office = std::make_unique<LiveOffice>(east);
  }
  std::string id(const std::string& name) { return to_string(world.names.key(name).id); }
  HttpResponse send(const std::string& method, const std::string& resource,
                    const std::string& body = {}, LiveOffice::Headers headers = {}) {
    return office->request(method, LiveOffice::kData + resource, body, std::move(headers));
  }
  static std::string end(const std::string& of) {
    return "{\"accountid\":\"" + of + "\",\"@odata.type\":\"Microsoft.Dynamics.CRM.account\"}";
  }
  std::string ends(const std::string& target, const std::string& subordinate,
                   const std::string& more = {}) {
    return "{\"Target\":" + end(target) + ",\"Subordinate\":" + end(subordinate) + more + "}";
  }
  static std::string header(const HttpResponse& r, const std::string& name) {
    for (const auto& [n, v] : r.headers) {
      if (n == name) return v;
    }
    return "";
  }
  static bool says(const HttpResponse& r, const std::string& text) {
    return r.body.find(text) != std::string::npos;
  }
};

}  // namespace

TEST_CASE("POST Merge takes what clients of the Dataverse send, and one record is left",
          "[api][merge]") {
  MergeRequests w;
  auto r = w.send("POST", "Merge",
                  w.ends(w.a, w.b,
                         ",\"UpdateContent\":{\"@odata.type\":\"Microsoft.Dynamics.CRM.account\","
                         "\"name\":\"Both\",\"accountnumber\":\"N1\"},"
                         "\"PerformParentingChecks\":false"));
  INFO(r.body);
  REQUIRE(r.status == 204);
  CHECK(MergeRequests::header(r, "Branchline-Mutation") != "");
  auto read = w.send("GET", "accounts(" + w.a + ")");
  CHECK(w.says(read, "\"name\":\"Both\""));
  CHECK(w.says(read, "\"telephone1\":\"1\""));
  CHECK(w.says(read, "\"telephone2\":\"2\""));
  CHECK(w.says(read, "\"loyaltypoints\":7"));
  CHECK(w.says(read, "\"accountnumber\":\"N1\""));
  CHECK(MergeRequests::header(read, "Content-Location") == "");

  SECTION("a read of the merged id answers the survivor, under its own id") {
    auto old = w.send("GET", "accounts(" + w.b + ")");
    CHECK(old.status == 200);
    CHECK(w.says(old, "\"accountid\":\"" + w.a + "\""));
    CHECK(MergeRequests::header(old, "Content-Location").ends_with("accounts(" + w.a + ")"));
    CHECK(MergeRequests::header(old, "ETag") == MergeRequests::header(read, "ETag"));
    CHECK(w.says(w.send("GET", "accounts(" + w.b + ")/contact_customer_accounts"), w.c));
  }
  SECTION("lists and filters show it once, lookups show the survivor") {
    auto list = w.send("GET", "accounts?$select=name");
    CHECK_FALSE(w.says(list, w.b));
    CHECK(w.says(list, w.a));
    CHECK(w.says(w.send("GET", "contacts(" + w.c + ")"),
                 "\"_parentcustomerid_value\":\"" + w.a + "\""));
    CHECK(w.says(w.send("GET", "contacts?$filter=_parentcustomerid_value%20eq%20" + w.a), w.c));
  }
  SECTION("a write to the merged id is refused and says where it went") {
    for (const char* method : {"PATCH", "DELETE"}) {
      auto refused =
          w.send(method, "accounts(" + w.b + ")", method[0] == 'P' ? "{\"name\":\"X\"}" : "");
      CHECK(refused.status == 412);
      CHECK(w.says(refused, "record.merged"));
      CHECK(w.says(refused, w.a));
    }
    CHECK(w.says(w.send("GET", "accounts(" + w.a + ")"), "\"name\":\"Both\""));
    auto again = w.send("POST", "Merge", w.ends(w.a, w.b));
    CHECK(again.status == 412);
    CHECK(w.says(again, "record.merged"));
  }
  SECTION("what is bound to the merged id is bound to the survivor") {
    auto made = w.send("POST", "contacts",
                       "{\"lastname\":\"Late\",\"parentcustomerid_account@odata.bind\":"
                       "\"/accounts(" +
                           w.b + ")\"}",
                       {{"Prefer", "return=representation"}});
    INFO(made.body);
    CHECK(made.status == 201);
    CHECK(w.says(made, "\"_parentcustomerid_value\":\"" + w.a + "\""));
  }
}

TEST_CASE("A child's ETag tells that its parent was merged, though nobody edited it",
          "[api][merge]") {
  MergeRequests w;
  std::string before = MergeRequests::header(w.send("GET", "contacts(" + w.c + ")"), "ETag");
  REQUIRE(w.send("POST", "Merge", w.ends(w.a, w.b)).status == 204);
  CHECK(MergeRequests::header(w.send("GET", "contacts(" + w.c + ")"), "ETag") != before);
}

TEST_CASE("A Merge of records of different territories unites them", "[api][merge]") {
  MergeRequests w;
  REQUIRE(w.send("POST", "Merge", w.ends(w.a, w.id("e"))).status == 204);
  auto read = w.send("GET", "accounts(" + w.a + ")");
  CHECK(w.says(w.send("GET", "accounts(" + w.id("e") + ")"), w.a));
  CHECK(w.says(read, "_alsointerritories_value"));
}

TEST_CASE("A Merge that cannot be is refused by name", "[api][merge]") {
  MergeRequests w;
  auto refused = [&](const std::string& body, int status, const std::string& code) {
    auto r = w.send("POST", "Merge", body);
    INFO(body << " -> " << r.body);
    CHECK(r.status == status);
    CHECK(w.says(r, code));
  };
  refused("{\"Target\":" + MergeRequests::end(w.a) + "}", 400, "merge.ends");
  refused("{\"Target\":" + MergeRequests::end(w.a) + ",\"Subordinate\":{\"contactid\":\"" + w.c +
              "\"}}",
          400, "merge.entity");
  refused(w.ends(w.a, w.a), 400, "merge.itself");
  refused(w.ends(w.a, "nonsense"), 400, "value.id");
  refused(w.ends(w.a, w.c), 404, "record.not_found");
  refused(w.ends(w.a, w.b, ",\"Winner\":1"), 400, "property.unknown");
  refused(w.ends(w.a, w.b, ",\"PerformParentingChecks\":1"), 400, "value.type");
  refused(w.ends(w.a, w.b, ",\"UpdateContent\":{\"loyaltypoints\":9}"), 400, "merge.combined");
  refused(w.ends(w.a, w.b, ",\"UpdateContent\":{\"Branchline.territory\":\"east\"}"), 400,
          "merge.territory");
  refused("{\"Target\":{\"productid\":\"" + w.a + "\"},\"Subordinate\":{\"productid\":\"" + w.b +
              "\"}}",
          400, "merge.entity");
  auto r = w.send("PATCH", "accounts(" + w.a + ")",
                  "{\"parentaccountid@odata.bind\":\"/accounts(" + w.id("e") + ")\"}");
  REQUIRE(r.status == 204);
  refused(w.ends(w.a, w.b, ",\"PerformParentingChecks\":true"), 412, "merge.parents");
  CHECK(w.send("GET", "Merge").status == 405);
  CHECK(w.says(w.send("GET", "accounts(" + w.b + ")"), "\"name\":\"B\""));
}

}  // namespace branchline
