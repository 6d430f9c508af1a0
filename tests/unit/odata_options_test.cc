#include "branch/api/odata_options.h"

#include "branch/api/odata_json.h"
#include "branch/api/odata_metadata.h"
#include "common/base/limits.h"
#include "common/json/json.h"
#include "tests/support/query_world.h"

using namespace branchline;
using namespace branchline::query_test;

namespace {

const TerritoryNumber kNoTerritories = [](const RecordId&) -> int64_t { return 0; };

Result<QueryOptions> parse(const World& w, const std::string& set, const std::string& query,
                           OptionScope scope = OptionScope::set) {
  auto url = parse_target("/x?" + query);
  REQUIRE(url);
  auto found = w.schema->set(set);
  REQUIRE(found);
  return parse_options(*w.schema, *found, *url, kNoTerritories, scope);
}

Json shown(const World& w, const Record& record, const std::string& query,
           bool annotations = false) {
  const Entity& e = *w.schema->entity(record.key().entity);
  auto options = parse(w, e.set_name, query);
  INFO(refusal(options));
  REQUIRE(options);
  JsonOptions json;
  json.annotations = annotations;
  json.root = "http://here/";
  json.territory_id = [](TerritoryId) { return id_of("territory"); };
  std::string text;
  REQUIRE(append_record(text, w.context(), e, record, options->select, options->expand, json, ""));
  auto parsed = parse_json(text);
  INFO(text);
  REQUIRE(parsed);
  return *parsed;
}

std::vector<std::string> names(const Json& object) {
  std::vector<std::string> out;
  for (const auto& m : object.members) out.push_back(m.name);
  return out;
}

}  // namespace

TEST_CASE("options are bound to the entity", "[odata][options]") {
  World w;
  auto o = parse(w, "accounts",
                 "$select=name,_ownerid_value&$orderby=name "
                 "desc,createdon&$top=7&$skip=3&$count=true&custom=x&$format=json");
  INFO(refusal(o));
  REQUIRE(o);
  CHECK(o->select.size() == 2);
  REQUIRE(o->query.order.size() == 2);
  CHECK(o->query.order[0].descending);
  CHECK_FALSE(o->query.order[1].descending);
  CHECK(o->query.top == 7u);
  CHECK(o->query.skip == 3);
  CHECK(o->query.count);
  CHECK(parse(w, "accounts", "$select=*")->select.empty());
  CHECK(parse(w, "accounts", "$select=name,name")->select.size() == 1);
}

TEST_CASE("options that are wrong are refused by name", "[odata][options]") {
  World w;
  for (auto [query, what] : std::initializer_list<std::pair<const char*, const char*>>{
           {"$select=nmae", "did you mean name?"},
           {"$select=ownerid", "write _ownerid_value"},
           {"$select=annotations", "Account_Annotation"},
           {"$orderby=name up", "`name up`"},
           {"$orderby=tags", "collection"},
           {"$orderby=name,name,name,name,name,name,name,name,name", "at most 8"},
           {"$top=-1", "$top"},
           {"$top=abc", "$top"},
           {"$top=99999999999999999999", "$top"},
           {"$skip=1.5", "$skip"},
           {"$count=yes", "$count"},
           {"$expand=nothing", "there are: "},
           {"$expand=primarycontactid($select=nope)", "nope"},
           {"$expand=primarycontactid($expand=ownerid)", "one level"},
           {"$expand=primarycontactid($top=1)", "$top"},
           {"$expand=primarycontactid(", "closing parenthesis"},
           {"$expand=primarycontactid,primarycontactid", "twice"},
           {"$expand=contact_customer_accounts($filter=x eq 1)", "position 1"},
           {"$skiptoken=xyz", "$skiptoken"},
           {"$skiptoken=6", "$skiptoken"},
           {"$search=x", "$search"},
           {"$apply=aggregate($count as n)&$top=5", "beside $apply"},
           {"$filter=", "position 1"},
       }) {
    INFO(query);
    auto o = parse(w, "accounts", query);
    REQUIRE_FALSE(o);
    CHECK(o.error().kind == ErrorKind::invalid);
    CHECK_THAT(o.error().message, Catch::Contains(what));
  }
  CHECK_THAT(refusal(parse(w, "accounts", "$filter=name eq 'x'", OptionScope::record)),
             Catch::Contains("$select and $expand only"));
  CHECK(parse(w, "accounts", "$select=name&$expand=ownerid", OptionScope::record));
  CHECK_THAT(refusal(parse(w, "salesorders", "$expand=customerid($select=name)")),
             Catch::Contains("customerid_account"));
}

TEST_CASE("a set that shows a part of an entity narrows every condition", "[odata][options]") {
  World w;
  Record task = w.make("activitypointer", "t", {{"subject", "S"}, {"activitytypecode", "4212"}});
  Record call = w.make("activitypointer", "c", {{"subject", "S"}, {"activitytypecode", "4210"}});
  for (const char* query : {"$top=1", "$filter=subject eq 'S' or subject eq 'T'"}) {
    auto o = parse(w, "tasks", query);
    REQUIRE(o);
    CHECK(holds(o->query.filter, task));
    CHECK_FALSE(holds(o->query.filter, call));
  }
}

TEST_CASE("a record's JSON has what was selected, and its key", "[odata][json]") {
  World w;
  Record a = w.add("account", "a",
                   {{"name", "A <\"\\\x01>"},
                    {"creditlimit", "12345678901.2345"},
                    {"customertypecode", "1"},
                    {"ownerid", "systemuser:u"}});
  w.add("systemuser", "u", {{"fullname", "Anna"}}, kReferenceTerritory);
  Json some = shown(w, a, "$select=name,creditlimit,telephone1");
  CHECK(names(some) ==
        std::vector<std::string>{"@odata.etag", "name", "creditlimit", "telephone1", "accountid"});
  CHECK(some.member("name")->text == "A <\"\\\x01>");
  CHECK(some.member("creditlimit")->text == "12345678901.2345");
  CHECK(some.member("telephone1")->kind == Json::Kind::null);
  CHECK(some.member("accountid")->text == to_string(id_of("a")));
  Json all = shown(w, a, "", true);
  CHECK(all.member("_ownerid_value")->text == to_string(id_of("u")));
  CHECK(all.member("_ownerid_value@OData.Community.Display.V1.FormattedValue")->text == "Anna");
  CHECK(all.member("_ownerid_value@Microsoft.Dynamics.CRM.lookuplogicalname")->text ==
        "systemuser");
  CHECK(all.member("customertypecode@OData.Community.Display.V1.FormattedValue")->text ==
        "Consumer");
  CHECK(all.member("statecode")->text == "0");
  CHECK(all.member("createdon")->text == "2023-11-14T22:13:20Z");
  CHECK(all.member("tags")->kind == Json::Kind::array);
  CHECK_FALSE(all.member("annotations"));
}

TEST_CASE("expansion goes one level, both ways", "[odata][json]") {
  World w;
  Record a = w.add("account", "a", {{"name", "A"}, {"primarycontactid", "contact:c2"}});
  w.add("contact", "c1", {{"lastname", "One"}, {"parentcustomerid", "account:a"}});
  w.add("contact", "c2", {{"lastname", "Two"}, {"parentcustomerid", "account:a"}});
  w.add("contact", "c3", {{"lastname", "Other"}, {"parentcustomerid", "account:b"}});
  Json j = shown(w, a,
                 "$select=name&$expand=primarycontactid($select=lastname),contact_customer_"
                 "accounts($select=lastname;$orderby=lastname desc;$top=1),ownerid");
  CHECK(j.member("primarycontactid")->member("lastname")->text == "Two");
  CHECK(j.member("ownerid")->kind == Json::Kind::null);
  REQUIRE(j.member("contact_customer_accounts")->items.size() == 1);
  CHECK(j.member("contact_customer_accounts")->items[0].member("lastname")->text == "Two");
  Json filtered = shown(w, a, "$expand=contact_customer_accounts($filter=lastname eq 'One')");
  CHECK(filtered.member("contact_customer_accounts")->items.size() == 1);
}

TEST_CASE("what an expansion leaves out is linked to", "[odata][json]") {
  World w;
  Record a = w.add("account", "a", {{"name", "A"}});
  for (size_t i = 0; i <= limits::kMaxExpandedRows; ++i) {
    w.add("contact", "c" + std::to_string(i),
          {{"lastname", "L"}, {"parentcustomerid", "account:a"}});
  }
  Json j = shown(w, a, "$select=name&$expand=contact_customer_accounts($select=lastname)");
  CHECK(j.member("contact_customer_accounts")->items.size() == limits::kMaxExpandedRows);
  const Json* link = j.member("contact_customer_accounts@odata.nextLink");
  REQUIRE(link);
  CHECK_THAT(link->text,
             Catch::StartsWith("http://here/accounts(" + to_string(id_of("a")) +
                               ")/contact_customer_accounts?$select=lastname&$skiptoken="));
}

TEST_CASE("$metadata names every set and property, and is well formed", "[odata][metadata]") {
  auto schema = Schema::built_in();
  std::string xml = csdl(*schema);
  // Tags open and close in order; attribute values are quoted.
  std::vector<std::string> open;
  for (size_t at = 0; (at = xml.find('<', at)) != std::string::npos;) {
    size_t end = xml.find('>', at);
    REQUIRE(end != std::string::npos);
    std::string tag = xml.substr(at + 1, end - at - 1);
    at = end;
    CHECK(std::count(tag.begin(), tag.end(), '"') % 2 == 0);
    CHECK(tag.find('<') == std::string::npos);
    if (tag[0] == '?' || tag.back() == '/') continue;
    std::string name = tag.substr(tag[0] == '/', tag.find(' ') - (tag[0] == '/'));
    if (tag[0] != '/') {
      open.push_back(name);
      continue;
    }
    REQUIRE_FALSE(open.empty());
    CHECK(open.back() == name);
    open.pop_back();
  }
  CHECK(open.empty());
  std::string document = service_document(*schema, "http://here/");
  REQUIRE(parse_json(document));
  for (const auto& e : schema->entities()) {
    INFO(e->name);
    bool there = xml.find("<EntitySet Name=\"" + e->set_name + "\"") != std::string::npos;
    CHECK(there != e->credential);
    CHECK((document.find("\"" + e->set_name + "\"") != std::string::npos) != e->credential);
    if (e->credential) continue;
    size_t type = xml.find("<EntityType Name=\"" + e->name + "\">");
    REQUIRE(type != std::string::npos);
    std::string body = xml.substr(type, xml.find("</EntityType>", type) - type);
    for (const auto& f : e->fields) {
      INFO(f.name);
      CHECK((body.find("<Property Name=\"" + property_of(f) + "\"") != std::string::npos) ==
            (f.policy != Policy::append || e->id == entity_id::kConflict));
    }
    for (const auto& s : e->subtypes)
      CHECK(xml.find("<EntitySet Name=\"" + s.set_name + "\"") != std::string::npos);
  }
  CHECK(xml.find("tokenhash") == std::string::npos);
}
