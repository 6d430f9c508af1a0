// What a client says and sees of `ask`, `escrow`, `atomic` and guards over HTTP.
#include <catch2/catch.hpp>

#include "common/json/json.h"
#include "tests/support/live_office.h"

namespace branchline {
namespace {

struct Office {
  SmallWorld world;
  SmallOffice& east = world["east"];
  SmallOffice& west = world["west"];

  Office() {
    REQUIRE(world["hq"].write("create account a @common name=Acme creditlimit=100") == "ok");
    REQUIRE(world["hq"].write("create product p name=P quantityonhand+=120") == "ok");
    world.settle();
    world.settle();
  }
  std::string url(const std::string& set, const std::string& name) {
    return LiveOffice::kData + set + "(" + to_string(world.names.key(name).id) + ")";
  }
};

}  // namespace

TEST_CASE("conflicts show who asked for what, and writing the field resolves them", "[http]") {
  Office o;
  REQUIRE(o.west.write("update a creditlimit=200") == "ok");
  REQUIRE(o.east.write("update a creditlimit=300") == "ok");
  o.west.ship();
  o.world.settle();
  {
    LiveOffice live(o.east);
    std::string list = std::string(LiveOffice::kData) + "conflicts?$filter=statecode%20eq%200";
    HttpResponse r = live.request("GET", list);
    INFO(r.body);
    REQUIRE(r.status == 200);
    auto json = parse_json(r.body);
    REQUIRE(json);
    const Json& rows = *json->member("value");
    REQUIRE(rows.items.size() == 1);
    CHECK(rows.items[0].member("fieldname")->text == "creditlimit");
    const Json& contenders = *rows.items[0].member("contenders");
    REQUIRE(contenders.items.size() == 1);
    CHECK(r.body.find("{\"creditlimit\":300,") != std::string::npos);
    CHECK(contenders.items[0].member("office")->text == "east");
    CHECK(contenders.items[0].member("_authorid_value")->text == to_string(o.world.user));
    CHECK(contenders.items[0].member("mutation")->text.starts_with("east."));
    CHECK(contenders.items[0].member("madeon")->text.ends_with("Z"));
    std::string id = rows.items[0].member("conflictid")->text;
    std::string conflict = std::string(LiveOffice::kData) + "conflicts(" + id + ")";
    CHECK(live.request("PATCH", conflict, "{\"statecode\":1}").status == 403);
    CHECK(live.request("DELETE", conflict).status == 403);
    CHECK(live.request("GET", conflict + "?$select=contenders").status == 200);
    r = live.request("GET", o.url("accounts", "a") + "/account_conflicts");
    CHECK(r.body.find(id) != std::string::npos);
    CHECK(live.request("PATCH", o.url("accounts", "a"), "{\"creditlimit\":250}").status == 204);
    r = live.request("GET", list);
    CHECK(r.body.find(id) == std::string::npos);
    r = live.request("GET", conflict);
    CHECK(r.body.find("\"contenders\":[]") != std::string::npos);
  }
  o.world.settle();
  o.world.settle();
  CHECK(o.west.show("a").find("creditlimit=250") != std::string::npos);
  CHECK(o.west.show("a").find("?{") == std::string::npos);
}

TEST_CASE("a stock is spent by writing less, and refused with what is left", "[http]") {
  Office o;
  {
    LiveOffice live(o.east);
    std::string p = o.url("products", "p");
    CHECK(live.request("PATCH", p, "{\"quantityonhand\":105}").status == 204);
    HttpResponse r = live.request("PATCH", p, "{\"quantityonhand@Branchline.add\":-6}");
    CHECK(r.status == 412);
    CHECK(r.body.find("write.share_exceeded") != std::string::npos);
    CHECK(r.body.find("5 are left here") != std::string::npos);
    CHECK(live.request("PATCH", p, "{\"quantityonhand@Branchline.add\":10}").status == 204);
    CHECK(live.request("PATCH", p, "{\"quantityonhand@Branchline.giveback\":2}").status == 204);
    CHECK(live.request("PATCH", p, "{\"quantityonhand@Branchline.giveback\":-2}").status == 400);
    CHECK(live.request("PATCH", p, "{\"price@Branchline.giveback\":2}").status == 400);
    r = live.request("GET", std::string(LiveOffice::kData) +
                                "escrowshares?$filter=servernumber%20eq%20" +
                                std::to_string(o.east.registration.origin.value));
    INFO(r.body);
    CHECK(r.body.find("\"share\":3") != std::string::npos);
  }
  o.world.settle();
  CHECK(o.world.master.show("p").find("quantityonhand=115{") != std::string::npos);
}

TEST_CASE("Branchline-Atomic and Branchline-Guard are decided at the master", "[http]") {
  Office o;
  std::string a = o.url("accounts", "a");
  {
    LiveOffice live(o.east);
    auto patch = [&](const std::string& body, LiveOffice::Headers headers) {
      return live.request("PATCH", a, body, std::move(headers));
    };
    HttpResponse r = patch("{\"telephone1\":\"1\"}", {{"Branchline-Guard", "name eq 'Other'"}});
    CHECK(r.status == 412);
    CHECK(r.body.find("write.guard") != std::string::npos);
    for (const char* wrong : {"name gt 'A'", "name eq 'A' or name eq 'B'", "nme eq 'A'", "",
                              "createdon eq 2024-01-01T00:00:00Z"}) {
      INFO(wrong);
      CHECK(patch("{\"telephone1\":\"1\"}", {{"Branchline-Guard", wrong}}).status == 400);
    }
    CHECK(patch("{\"telephone1\":\"1\"}", {{"Branchline-Atomic", "perhaps"}}).status == 400);
    CHECK(live.request("POST", std::string(LiveOffice::kData) + "annotations", "{}",
                       {{"Branchline-Guard", "name eq 'A'"}})
              .status == 400);
    CHECK(patch("{\"telephone1\":\"1\"}",
                {{"Branchline-Guard", "name eq 'acme' and creditlimit eq 100"}})
              .status == 204);
    CHECK(
        patch("{\"telephone2\":\"2\",\"name\":\"East\"}", {{"Branchline-Atomic", "true"}}).status ==
        204);
    // A repetition under the same key must be the same request, conditions included.
    CHECK(patch("{\"description\":\"d\"}", {{"Idempotency-Key", "k"}}).status == 204);
    CHECK(
        patch("{\"description\":\"d\"}", {{"Idempotency-Key", "k"}, {"Branchline-Atomic", "true"}})
            .status == 422);
  }
  o.west.clock.ms += 60'000;
  REQUIRE(o.west.write("update a creditlimit=150 name=West") == "ok");
  o.west.ship();
  o.world.settle();
  // Both of the first two are rejected whole, for the credit limit and for the name.
  std::string shown = o.world.master.show("a");
  INFO(shown);
  CHECK(shown.find("telephone") == std::string::npos);
  CHECK(shown.find("description=d") != std::string::npos);
  CHECK(shown.find("name=West") != std::string::npos);
}

}  // namespace branchline
