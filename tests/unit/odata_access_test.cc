#include "common/access/access.h"

#include "branch/crm/etag.h"
#include "common/access/token_auth.h"
#include "common/http/operator_access.h"
#include "tests/support/query_world.h"
#include "tests/support/temp_folder.h"

using namespace branchline;
using namespace branchline::query_test;

namespace {

constexpr int64_t kNow = 1'800'000'000'000;

Result<Principal> principal(const World& w, World::Fields token, World::Fields user,
                            TerritoryId home = kEast) {
  user.emplace_back("fullname", "Anna");
  token.emplace_back("systemuserid", "systemuser:anna");
  return principal_of(*w.schema, w.make("apitoken", "t", token, home),
                      w.make("systemuser", "anna", user, kReferenceTerritory), kNow);
}

}  // namespace

TEST_CASE("a token allows what it says, while it lasts", "[odata][access]") {
  World w;
  auto writer = principal(w, {{"access", "2"}}, {});
  REQUIRE(writer);
  CHECK(writer->may_write);
  CHECK_FALSE(writer->admin);
  CHECK_FALSE(writer->everywhere);
  CHECK(writer->works_in(kEast));
  CHECK_FALSE(writer->works_in(kWest));
  CHECK_FALSE(principal(w, {{"access", "1"}}, {})->may_write);
  CHECK_FALSE(principal(w, {}, {})->may_write);
  CHECK(principal(w, {{"access", "2"}}, {{"isadministrator", "true"}})->admin);
  CHECK(principal(w, {{"access", "2"}}, {}, kReferenceTerritory)->everywhere);
  CHECK(principal(w, {{"isrevoked", "true"}}, {}).error().code == "token.revoked");
  CHECK(principal(w, {{"expireson", "2020-01-01T00:00:00Z"}}, {}).error().code == "token.expired");
  CHECK(principal(w, {{"expireson", "2099-01-01T00:00:00Z"}}, {}));
  CHECK(principal(w, {}, {{"isdisabled", "true"}}).error().code == "user.disabled");
}

TEST_CASE("an end counts from the commit that wrote it", "[odata][access]") {
  World w;
  Record token = w.make("apitoken", "t", {{"systemuserid", "systemuser:anna"}, {"access", "2"}});
  Record user = w.make("systemuser", "anna", {{"fullname", "Anna"}}, kReferenceTerritory);
  Version end;
  end.csn = Csn(50);
  auto code_at = [&](std::optional<Csn> at) {
    auto p = principal_of(*w.schema, token, user, kNow, at);
    return p ? "good" : p.error().code;
  };
  std::string code = "token.revoked";
  SECTION("revoked") {
    token.set(w.entity("apitoken").field("isrevoked")->id, end,
              {ValueType::boolean, encode_boolean(true)});
  }
  SECTION("deleted") { token.set_state(RecordState::tombstone, end); }
  SECTION("its user disabled") {
    user.set(w.entity("systemuser").field("isdisabled")->id, end,
             {ValueType::boolean, encode_boolean(true)});
    code = "user.disabled";
  }
  SECTION("its user deleted") {
    user.set_state(RecordState::tombstone, end);
    code = "user.disabled";
  }
  CHECK(code_at(Csn(49)) == "good");
  CHECK(code_at(Csn(50)) == code);
  CHECK(code_at(Csn(51)) == code);
  CHECK(code_at({}) == code);
}

TEST_CASE("only an administrator whose token is good everywhere operates a server",
          "[odata][access]") {
  World w;
  TempFolder folder;
  Principal p = *principal(w, {{"access", "2"}}, {{"isadministrator", "true"}});
  auto access = OperatorAccess::load(folder.path().string(),
                                     [&](std::string_view) { return Result<Principal>(p); });
  REQUIRE(access);
  HttpRequest request;
  request.headers.emplace_back("Authorization", "Bearer x");
  auto refused = access->refuse(request);
  REQUIRE(refused);
  CHECK(refused->status == 403);
  CHECK(refused->body.find("good everywhere") != std::string::npos);
  p.everywhere = true;
  CHECK_FALSE(access->refuse(request));
}

TEST_CASE("reading and writing go by territory, kind and token", "[odata][access]") {
  World w;
  Principal east = *principal(w, {{"access", "2"}}, {});
  Principal reader = *principal(w, {{"access", "1"}}, {});
  Principal admin =
      *principal(w, {{"access", "2"}}, {{"isadministrator", "true"}}, kReferenceTerritory);
  Record here = w.make("account", "e", {{"name", "E"}}, kEast),
         there = w.make("account", "w", {{"name", "W"}}, kWest);
  Record product = w.make("product", "p", {{"name", "P"}}, kReferenceTerritory);
  Record user = w.make("systemuser", "u", {{"fullname", "U"}}, kReferenceTerritory);
  Record token = w.make("apitoken", "t", {{"name", "T"}}, kEast);
  const Entity &account = w.entity("account"), &products = w.entity("product"),
               &users = w.entity("systemuser"), &tokens = w.entity("apitoken");
  CHECK(may_read(east, account, here));
  CHECK_FALSE(may_read(east, account, there));
  CHECK(may_read(east, products, product));
  CHECK(may_write(east, account, here));
  CHECK_FALSE(may_write(east, account, there));
  CHECK_FALSE(may_write(reader, account, here));
  CHECK(may_read(reader, account, here));
  CHECK_FALSE(may_write(east, products, product));
  CHECK(may_write(admin, products, product));
  CHECK_FALSE(may_write(admin, users, user));
  CHECK_FALSE(may_read(admin, tokens, token));
  CHECK_FALSE(may_write(admin, tokens, token));
  Record shared = w.make("account", "s", {{"name", "S"}}, kWest);
  shared.set_territories(kWest, {kEast});
  CHECK(may_read(east, account, shared));
}

TEST_CASE("bearer tokens are taken from the header, and found by their hash", "[odata][access]") {
  CHECK(*bearer_token("Bearer abc") == "abc");
  CHECK(*bearer_token("bearer abc") == "abc");
  CHECK(*bearer_token("BEARER abc") == "abc");
  for (const char* bad : {"", "Bearer", "Bearer ", "Basic abc", "abc"}) {
    INFO(bad);
    REQUIRE_FALSE(bearer_token(bad));
    CHECK(bearer_token(bad).error().code == "token.missing");
  }
  World w;
  w.add("systemuser", "anna", {{"fullname", "Anna"}}, kReferenceTerritory);
  w.add(
      "apitoken", "t",
      {{"tokenhash", token_hash("secret")}, {"systemuserid", "systemuser:anna"}, {"access", "2"}});
  w.add("apitoken", "e",
        {{"tokenhash", token_hash("brief")},
         {"systemuserid", "systemuser:anna"},
         {"expireson", "2099-01-01T00:00:00Z"}});
  auto known = authenticate_token(*w.view, 0, *w.schema, "secret", kNow);
  REQUIRE(known);
  CHECK(known->principal.name == "Anna");
  CHECK(known->may_cache);
  CHECK_FALSE(authenticate_token(*w.view, 0, *w.schema, "brief", kNow)->may_cache);
  auto unknown = authenticate_token(*w.view, 0, *w.schema, "Secret", kNow);
  REQUIRE_FALSE(unknown);
  CHECK(unknown.error().code == "token.unknown");
  CHECK(w.view->record_rows == 0);
}

TEST_CASE("an ETag changes with what was written, not with its commit", "[odata][etag]") {
  World w;
  const Entity& e = w.entity("account");
  Record a = w.make("account", "a", {{"name", "A"}, {"loyaltypoints", "5"}});
  uint64_t before = etag_of(a, e);
  CHECK(etag_text(before).size() == 20);
  CHECK(etag_text(before).starts_with("W/\""));
  Record same = a;
  CHECK(etag_of(same, e) == before);
  Version committed = a.version(*a.find(e.field("name")->id));
  committed.csn = Csn(99);
  same.set(e.field("name")->id, committed, {ValueType::text, "A"});
  CHECK(etag_of(same, e) == before);
  Version other = committed;
  other.id.seq = Seq(77);
  Record edited = a;
  edited.set(e.field("name")->id, other, {ValueType::text, "A"});
  CHECK(etag_of(edited, e) != before);
  // Others' additions to a counter count, whoever wrote last.
  Record counted = a;
  counted.set(e.field("loyaltypoints")->id, a.version(*a.find(e.field("loyaltypoints")->id)),
              {ValueType::integer, encode_integer(6)});
  CHECK(etag_of(counted, e) != before);
}
