#include "branch/api/odata_body.h"

#include "branch/api/odata_url.h"
#include "tests/support/query_world.h"

using namespace branchline;
using namespace branchline::query_test;

namespace {

Result<RecordInput> parse(const World& w, const std::string& set, const std::string& text,
                          bool create = true) {
  BodyContext c;
  c.schema = w.schema;
  c.resolve_key = [](const Entity&, const Index&, const OwnedValue& v) -> Result<RecordId> {
    return id_of(v.payload);
  };
  c.territory_name = [](const RecordId& id) {
    return id == id_of("territory east") ? std::string("east") : std::string();
  };
  BL_ASSIGN(Json json, parse_json(text));
  return parse_record_body(c, *w.schema->set(set), json, create);
}

const FieldInput& field(const RecordInput& input, std::string_view name) {
  for (const auto& f : input.fields) {
    if (f.field->name == name) return f;
  }
  FAIL("no field " << name);
  return input.fields.front();
}

}  // namespace

TEST_CASE("a body's members become typed values", "[odata][body]") {
  World w;
  auto r = parse(
      w, "accounts",
      R"b({"name":"A \u00e9","creditlimit":0.1,"revenue":"12345678901234.56","numberofemployees":5,
    "customertypecode":2,"lastcontacted":"2024-02-29T23:59:59Z","tags":["b","a"],"telephone1":null,
    "primarycontactid@odata.bind":"/contacts(0b5cf7a1-0000-4000-8000-00000000abcd)","ownerid@odata.bind":"systemusers(domainname='anna')",
    "parentaccountid@odata.bind":null,"loyaltypoints@Branchline.add":-3,"@odata.type":"x","statecode@OData.Community.Display.V1.FormattedValue":"Active",
    "accountid":"0b5cf7a1-0000-4000-8000-000000000001","Branchline.territory":"east"})b");
  INFO(refusal(r));
  REQUIRE(r);
  CHECK(field(*r, "name").value.payload == "A é");
  CHECK(decode_money(field(*r, "creditlimit").value.payload).amount == *Decimal::parse("0.1"));
  CHECK(decode_money(field(*r, "revenue").value.payload).amount.to_string() == "12345678901234.56");
  CHECK(decode_integer(field(*r, "numberofemployees").value.payload) == 5);
  CHECK(field(*r, "tags").elements.size() == 2);
  CHECK(field(*r, "telephone1").value.type == ValueType::null);
  CHECK(decode_lookup(field(*r, "ownerid").value.payload).id == id_of("anna"));
  CHECK(field(*r, "parentaccountid").value.type == ValueType::null);
  CHECK(field(*r, "loyaltypoints").kind == FieldInput::Kind::add);
  CHECK(r->territory == "east");
  REQUIRE(r->address.id);
  CHECK(to_string(*r->address.id) == "0b5cf7a1-0000-4000-8000-000000000001");
}

TEST_CASE("decimals stay exact from JSON to JSON", "[odata][body]") {
  World w;
  for (auto [written, read] : std::initializer_list<std::pair<const char*, const char*>>{
           {"0.1", "0.1"},
           {"1e2", "100"},
           {"1.50", "1.5"},
           {"-0.0000000001", "-0.0000000001"},
           {"922337203685477.5807", "922337203685477.5807"},
           {"-0", "0"}}) {
    auto r = parse(w, "accounts", std::string("{\"creditlimit\":") + written + "}");
    INFO(written << " " << refusal(r));
    REQUIRE(r);
    std::string out;
    append_json_value(out, field(*r, "creditlimit").value.view());
    CHECK(out == read);
  }
  for (const char* bad :
       {"0.00000000001", "1e40", "\"abc\"", "\"\"", "true", "[]", "92233720368547758079"}) {
    INFO(bad);
    CHECK_THAT(refusal(parse(w, "accounts", std::string("{\"creditlimit\":") + bad + "}")),
               Catch::Contains("creditlimit"));
  }
}

TEST_CASE("what is wrong in a body is named", "[odata][body]") {
  World w;
  struct Case {
    const char* set;
    const char* body;
    const char* what;
  };
  for (const Case& c : {
           Case{"accounts", "[]", "must be a JSON object"},
           Case{"accounts", R"b({"nmae":"x"})b", "did you mean name?"},
           Case{"accounts", R"b({"name":5})b", "name: expected a text"},
           Case{"accounts", R"b({"name":{"a":1}})b", "name: expected a text"},
           Case{"accounts", R"b({"numberofemployees":1.5})b", "numberofemployees"},
           Case{"accounts", R"b({"numberofemployees":"5"})b",
                "numberofemployees: expected a whole number"},
           Case{"accounts", R"b({"customertypecode":99})b", "1 (Consumer)"},
           Case{"accounts", R"b({"lastcontacted":"2024-02-30T00:00:00Z"})b", "lastcontacted"},
           Case{"accounts", R"b({"lastcontacted":"yesterday"})b", "YYYY-MM-DD"},
           Case{"accounts", R"b({"emailaddress1":"nobody"})b", "no e-mail address"},
           Case{"accounts", R"b({"name":"A\u0000B"})b", "name: the text holds the character NUL"},
           Case{"accounts", R"b({"tags":["a","\u0000"]})b", "tags: the text holds"},
           Case{"annotations", R"b({"notetext":"\u0000"})b", "notetext: the text holds"},
           Case{"accounts", R"b({"websiteurl":"javascript:alert(1)"})b",
                "websiteurl: a web address cannot begin with `javascript:`"},
           Case{"accounts", R"b({"websiteurl":" \u0001Java\tScript:alert(1)"})b", "`javascript:`"},
           Case{"accounts", R"b({"websiteurl":"data:text/html,x"})b", "`data:`"},
           Case{"accounts", R"b({"also_in":["west"]})b", "alsointerritories@odata.bind"},
           Case{"contacts", R"b({"birthdate":"2024-13-01"})b", "birthdate"},
           Case{"contacts", R"b({"donotemail":"yes"})b", "donotemail: expected true or false"},
           Case{"contacts", R"b({"fullname":"x"})b", "computed"},
           Case{"accounts", R"b({"tags":"x"})b", "array"},
           Case{"accounts", R"b({"tags":[1]})b", "array of texts"},
           Case{"accounts", R"b({"annotations":[]})b", "annotations"},
           Case{"accounts", R"b({"ownerid":"x"})b", "ownerid@odata.bind"},
           Case{"accounts", R"b({"_ownerid_value":"x"})b", "ownerid@odata.bind"},
           Case{"accounts", R"b({"createdon":"2024-01-01T00:00:00Z"})b", "set by Branchline"},
           Case{"accounts",
                R"b({"ownerid@odata.bind":"/accounts(0b5cf7a1-0000-4000-8000-000000000001)"})b",
                "cannot refer to accounts"},
           Case{"accounts", R"b({"ownerid@odata.bind":"/nothings(1)"})b", "no entity set"},
           Case{"accounts", R"b({"ownerid@odata.bind":"/systemusers(1)"})b", "is no record id"},
           Case{"accounts", R"b({"ownerid@odata.bind":5})b", "ownerid"},
           Case{"accounts", R"b({"ownerd@odata.bind":"/systemusers(1)"})b",
                "did you mean ownerid?"},
           Case{"accounts", R"b({"name@Branchline.add":1})b", "no counter"},
           Case{"accounts", R"b({"loyaltypoints@Branchline.add":null})b", "expected a number"},
           Case{"accounts", R"b({"loyaltypoints":1,"loyaltypoints@Branchline.add":1})b",
                "given twice"},
           Case{"accounts", R"b({"name":"a","name":"b"})b", "stands twice"},
           Case{"accounts", R"b({"accountid":"x"})b", "accountid"},
           Case{"accounts", R"b({"territoryid@odata.bind":"/territories(x)"})b", "no territory"},
           Case{"salesorders", R"b({"order_details":[{"quantity":1},{"quantity":"x"}]})b",
                "order_details[1]: quantity"},
           Case{"salesorders", R"b({"order_details":{}})b", "expected an array"},
           Case{"salesorders", R"b({"order_details":[5]})b", "order_details[0]"},
       }) {
    INFO(c.body);
    auto r = parse(w, c.set, c.body);
    REQUIRE_FALSE(r);
    CHECK(r.error().kind == ErrorKind::invalid);
    CHECK_THAT(r.error().message, Catch::Contains(c.what));
    CHECK(r.error().message.size() < 600);
  }
  CHECK_THAT(refusal(parse(w, "accounts", "{\"name\":\"" + std::string(161, 'x') + "\"}")),
             Catch::Contains("161 characters, at most 160"));
  CHECK(parse(
      w, "accounts", "{\"name\":\"" + [] {
        std::string s;
        for (int i = 0; i < 160; ++i) s += "é";
        return s;
      }() + "\"}"));
  CHECK_THAT(refusal(parse(w, "salesorders", R"b({"order_details":[]})b", false)),
             Catch::Contains("not with an update"));
}

TEST_CASE("JSON that is none is refused with its offset", "[odata][body]") {
  for (auto [text, offset] :
       std::initializer_list<std::pair<const char*, const char*>>{{"{", "offset 1"},
                                                                  {"{\"a\":}", "offset 5"},
                                                                  {"{} x", "offset 3"},
                                                                  {"{\"a\":01}", "offset"},
                                                                  {"{\"a\":\"\xff\"}", "offset 6"},
                                                                  {"{\"a\":\"\\ud800\"}", "offset"},
                                                                  {"{'a':1}", "offset 1"},
                                                                  {"nul", "offset"},
                                                                  {"{\"a\":NaN}", "offset 5"},
                                                                  {"", "offset 0"}}) {
    INFO(text);
    auto j = parse_json(text);
    REQUIRE_FALSE(j);
    CHECK_THAT(j.error().message, Catch::Contains(offset));
  }
  CHECK_THAT(refusal(parse_json(std::string(17, '[') + std::string(17, ']'))),
             Catch::Contains("offset 16"));
  CHECK(parse_json(std::string(16, '[') + std::string(16, ']')));
  CHECK_FALSE(parse_json(std::string(500'000, '[')));
}

TEST_CASE("records are addressed by id or unique key", "[odata][body]") {
  World w;
  const Entity& e = w.entity("account");
  auto at = [&](const std::string& segment) {
    auto s = parse_resource(segment);
    REQUIRE(s);
    return parse_address(e, *s);
  };
  std::string id = "0b5cf7a1-0000-4000-8000-000000000001";
  CHECK(to_string(*at("accounts(" + id + ")")->id) == id);
  CHECK(to_string(*at("accounts('" + id + "')")->id) == id);
  CHECK(to_string(*at("accounts(accountid=" + id + ")")->id) == id);
  REQUIRE(at("accounts(accountnumber='X 1')")->key);
  CHECK(at("accounts(accountnumber='X 1')")->key_value.payload == "X 1");
  CHECK_THAT(refusal(at("accounts(12)")), Catch::Contains("is no record id"));
  CHECK_THAT(refusal(at("accounts()")), Catch::Contains("is no record id"));
  CHECK_THAT(refusal(at("accounts(00000000-0000-0000-0000-000000000000)")),
             Catch::Contains("is no record id"));
  CHECK_THAT(refusal(at("accounts(name='x')")), Catch::Contains("keys are: accountnumber"));
  CHECK_THAT(refusal(at("accounts(accountnumber='x',name='y')")), Catch::Contains("keys are"));
}

TEST_CASE("a property and a reference are written alone", "[odata][body]") {
  World w;
  BodyContext c;
  c.schema = w.schema;
  c.resolve_key = [](const Entity&, const Index&, const OwnedValue& v) -> Result<RecordId> {
    return id_of(v.payload);
  };
  const Entity& e = w.entity("account");
  Json text;
  text.kind = Json::Kind::string;
  text.text = "x";
  CHECK(parse_property(c, e, "name", text)->value.payload == "x");
  CHECK(parse_property(c, e, "name", Json{})->value.type == ValueType::null);
  CHECK_THAT(refusal(parse_property(c, e, "createdon", text)),
             Catch::Contains("set by Branchline"));
  CHECK_THAT(refusal(parse_property(c, e, "nmae", text)), Catch::Contains("did you mean name?"));
  text.text = "systemusers(domainname='anna')";
  auto owner = parse_reference(c, e, "ownerid", text);
  INFO(refusal(owner));
  REQUIRE(owner);
  CHECK(decode_lookup(owner->value.payload).id == id_of("anna"));
  CHECK_THAT(refusal(parse_reference(c, e, "name", text)),
             Catch::Contains("no lookup of this name"));
}
