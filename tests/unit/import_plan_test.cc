#include <stdlib.h>

#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "tools/branchline/import/import_plan.h"
#include "tools/branchline/import/import_report.h"
#include "tools/branchline/import/import_requests.h"
#include "tools/branchline/import/text_encoding.h"

namespace branchline::import {
namespace {

const std::string kMapping = R"(version: 1
name: shop
records:
  - set: accounts
    key: {accountnumber: "{Customer}/{Region}"}
    repeated: first
    fields:
      name: "{Name}"
    children:
      - collection: contact_customer_accounts
        key: "{Customer}/{Region}"
        fields: {lastname: "{Name}"}
  - set: salesorders
    key: {ordernumber: "{Order}"}
    fields:
      customerid: {value: "{Customer}/{Region}", lookup: accounts(accountnumber)}
      orderdate: {value: "{Date}", date: M/D/YYYY}
    children:
      - collection: order_details
        key: "{Row}"
        fields:
          quantity: "{Quantity}"
          priceperunit: {formula: "{Sales} / {Quantity}", scale: 2}
          manualdiscountamount: {formula: "[quantity] * [priceperunit] - {Sales}"}
)";
const std::string kHeader = "Row,Order,Date,Customer,Name,Region,Quantity,Sales\n";

const Mapping& mapping() {
  static const Mapping m = *parse_mapping(kMapping, "m.yaml", *Schema::built_in());
  return m;
}

Result<Plan> plan_of(const std::string& text, const Where& where = {}) {
  CsvReader reader(text, {});
  auto header = reader.next();
  BL_ASSIGN(Planner planner, Planner::create(mapping(), *header, where));
  while (auto row = reader.next()) planner.add(std::move(*row));
  return planner.finish();
}

std::string order_body(const Plan& plan, size_t i) { return create_body("shop", plan.steps[1][i]); }

}  // namespace

TEST_CASE("rows of one order become one mutation", "[import]") {
  auto plan = plan_of(kHeader +
                      "1,A-1,1/2/2017,C1,Ann,South,2,10\n"
                      "2,A-2,1/2/2017,C1,Ann,South,1,5\n"
                      "3,A-1,1/2/2017,C1,Ann,South,3,10\n");
  REQUIRE(plan);
  CHECK(plan->rejections.empty());
  REQUIRE(plan->steps[0].size() == 1);
  CHECK(create_body("shop", plan->steps[0][0]) ==
        "{\"accountnumber\":\"C1/"
        "South\",\"name\":\"Ann\",\"contact_customer_accounts\":[{\"contactid\":\"" +
            to_string(derived_id("shop", "contacts", "C1/South")) + "\",\"lastname\":\"Ann\"}]}");
  REQUIRE(plan->steps[1].size() == 2);
  CHECK(plan->steps[1][0].children.size() == 2);
  CHECK(plan->steps[1][0].rows == std::vector<uint32_t>{0, 2});
  std::string body = order_body(*plan, 0);
  INFO(body);
  CHECK(body.find("\"customerid_account@odata.bind\":\"/accounts(accountnumber='C1/South')\"") !=
        std::string::npos);
  CHECK(body.find("\"orderdate\":\"2017-01-02\"") != std::string::npos);
  // 3 x 3.33 = 9.99: the cent is in the discount, so that the line comes to 10 exactly.
  CHECK(body.find("\"quantity\":3,\"priceperunit\":3.33,\"manualdiscountamount\":-0.01") !=
        std::string::npos);
}

TEST_CASE("--where chooses rows, by column in any case", "[import]") {
  std::string text = kHeader + "1,A-1,1/2/2017,C1,Ann,South,2,10\n2,A-2,1/2/2017,C2,Bob,East,1,5\n";
  auto plan = plan_of(text, {{"region", "East"}});
  REQUIRE(plan);
  CHECK(plan->rows_read == 2);
  REQUIRE(plan->rows.size() == 1);
  CHECK(plan->steps[1][0].record.key == "A-2");
  auto wrong = plan_of(text, {{"area", "East"}});
  REQUIRE_FALSE(wrong);
  CHECK(wrong.error().message.find("`area`") != std::string::npos);
}

TEST_CASE("missing columns are told before anything is done", "[import]") {
  auto plan = plan_of("Row,Order,Date,Name,Quantity,Sales\n");
  REQUIRE_FALSE(plan);
  CHECK(plan.error().message ==
        "the file lacks columns that the mapping uses: Customer, Region\nit has: Row, Order, Date, "
        "Name, Quantity, Sales");
  auto twice = plan_of("Row,Order,Date,Customer,Name,Region,Quantity,Sales,Order\n");
  REQUIRE_FALSE(twice);
  CHECK(twice.error().message.find("two columns named `Order`") != std::string::npos);
}

TEST_CASE("bad rows are rejected with column, value and reason; good ones of the same order stay",
          "[import]") {
  auto plan = plan_of(kHeader +
                      "1,A-1,1/2/2017,C1,Ann,South,2,10\n"
                      "2,A-1,2017-01-02,C1,Ann,South,1,5\n"
                      "3,A-1,1/2/2017,C1,Ann,South,x,5\n"
                      "4,A-1,1/2/2017,C1,Ann,South\n"
                      "5,A-1,1/2/2017,C1,Ann,South,1,5,6\n"
                      "6,A-1,1/2/2017,C1,An\xE9,South,1,5\n"
                      "7,,1/2/2017,C1,Ann,South,1,5\n"
                      "8,A-1,1/2/2017,C1,Ann,South,0,5\n");
  REQUIRE(plan);
  REQUIRE(plan->rejections.size() == 7);
  auto is = [&](size_t i, size_t row, const char* column, const char* value, const char* reason) {
    const Rejection& r = plan->rejections[i];
    INFO(r.column << " | " << r.value << " | " << r.reason);
    CHECK(plan->rows[r.row].number == row);
    CHECK(r.column == column);
    CHECK(r.value == value);
    CHECK(r.reason.find(reason) != std::string::npos);
  };
  is(0, 3, "Date", "2017-01-02", "no date of the form M/D/YYYY");
  is(1, 4, "Quantity", "x", "no decimal number");
  is(2, 5, "", "", "has 6 fields, the header 8");
  is(3, 6, "", "", "has 9 fields, the header 8");
  is(4, 7, "Name", "An\xE9", "--encoding latin-1");
  is(5, 8, "Order", "", "the key of salesorders is empty");
  is(6, 9, "Sales", "5", "divides by zero");
  REQUIRE(plan->steps[1].size() == 1);
  CHECK(plan->steps[1][0].children.size() == 1);
}

TEST_CASE("an empty cell says nothing, nor does a formula that needs it", "[import]") {
  auto plan = plan_of(kHeader + "1,A-1,1/2/2017,C1,Ann,South,2,\n2,A-1,,C1,Ann,South,,5\n");
  REQUIRE(plan);
  CHECK(plan->rejections.empty());
  CHECK(plan->repeat_count == 0);
  std::string body = order_body(*plan, 0);
  INFO(body);
  CHECK(body.find("\"quantity\":2}") != std::string::npos);
  CHECK(body.find("priceperunit") == std::string::npos);
  CHECK(body.find("manualdiscountamount") == std::string::npos);
}

TEST_CASE("of a key that comes again with other content the first row wins and it is told",
          "[import]") {
  auto plan = plan_of(kHeader +
                      "1,A-1,1/2/2017,C1,Ann,South,2,10\n"
                      "1,A-1,1/3/2017,C1,Bob,South,2,11\n");
  REQUIRE(plan);
  CHECK(plan->rejections.empty());
  // The account says `repeated: first`: no word about Ann and Bob there.
  REQUIRE(plan->repeat_count == 3);
  CHECK(plan->repeats[0].set == "contacts");
  CHECK(plan->repeats[1].field == "orderdate");
  CHECK(plan->repeats[1].kept == "\"2017-01-02\"");
  CHECK(plan->repeats[1].kept_row == 2);
  CHECK(plan->repeats[1].other_row == 3);
  CHECK(plan->repeats[2].set == "salesorderdetails");
  CHECK(plan->steps[1][0].children.size() == 1);
}

TEST_CASE("the key of a request depends on what is asked, not on the file or the time",
          "[import]") {
  std::string first = "1,A-1,1/2/2017,C1,Ann,South,2,10\n",
              second = "2,A-2,1/2/2017,C2,Bob,South,1,5\n";
  auto key = [&](const std::string& rows, const char* order, const char* etag = "") {
    auto plan = plan_of(kHeader + rows);
    REQUIRE(plan);
    for (const auto& m : plan->steps[1]) {
      if (m.record.key == order)
        return operation_key("shop", "salesorders", m.record.key, create_body("shop", m), etag);
    }
    return std::string();
  };
  CHECK(key(first + second, "A-1") == key(second + first, "A-1"));
  CHECK(key(first + second, "A-1") != key(first + second, "A-2"));
  CHECK(key(first, "A-1") != key("1,A-1,1/2/2017,C1,Ann,South,2,11\n", "A-1"));
  CHECK(key(first, "A-1") != key(first, "A-1", "W/\"1\""));
  CHECK(key(first, "A-1").size() <= 255);
  CHECK(derived_id("shop", "contacts", "1") != derived_id("shop2", "contacts", "1"));
}

TEST_CASE("only what differs is changed", "[import]") {
  auto plan = plan_of(kHeader + "1,A-1,1/2/2017,C1,Ann,South,2,10.50\n");
  REQUIRE(plan);
  const auto& order = plan->steps[1][0];
  std::string line_id = to_string(derived_id("shop", "salesorderdetails", "1"));
  LookupId lookup = [](const PlannedCell& cell) -> Result<std::string> {
    return "id of " + cell.lookup_key;
  };
  auto there = parse_json(
      "{\"orderdate\":\"2017-01-02\",\"_customerid_value\":\"id of "
      "C1/South\",\"order_details\":[{\"salesorderdetailid\":\"" +
      line_id + "\",\"quantity\":2.0,\"priceperunit\":5.25,\"manualdiscountamount\":0}]}");
  REQUIRE(there);
  CHECK(differences(order.record, *there, lookup)->empty());
  const Json* line = find_child("shop", order.children[0], *there->member("order_details"));
  REQUIRE(line);
  CHECK(differences(order.children[0].record, *line, lookup)->empty());
  auto moved = parse_json("{\"orderdate\":null,\"_customerid_value\":\"id of C2/South\"}");
  auto cells = differences(order.record, *moved, lookup);
  REQUIRE(cells);
  CHECK(update_body("shop", *cells) ==
        "{\"customerid_account@odata.bind\":\"/accounts(accountnumber='C1/"
        "South')\",\"orderdate\":\"2017-01-02\"}");
}

TEST_CASE("addresses are encoded for URLs", "[import]") {
  auto plan = plan_of(kHeader + "1,A-1,1/2/2017,O'Hara & Söhne,Ann,South,2,10\n");
  REQUIRE(plan);
  CHECK(address_of("shop", plan->steps[0][0].record) ==
        "accounts(accountnumber='O''Hara%20%26%20S%C3%B6hne%2FSouth')");
}

TEST_CASE("the error file holds the rows as they were, and can be imported itself", "[import]") {
  std::string text =
      kHeader +
      "1,A-1,yesterday,C1,\"Ann, \"\"B\"\"\",South,2,10\n2,A-1,1/2/2017,C1,An\xE9,South,1,5\n";
  auto plan = plan_of(text);
  REQUIRE(plan);
  CsvReader header_reader(kHeader, {});
  std::string errors = error_csv(*plan, header_reader.next()->fields, plan->rejections, ',');
  CHECK(is_error_csv(errors, ','));
  CHECK_FALSE(is_error_csv(text, ','));
  std::string_view unmarked = errors;
  CHECK(settle_encoding(unmarked, Encoding::latin1) == Encoding::utf8);
  CHECK(unmarked.size() + 3 == errors.size());
  errors = std::string(unmarked);
  CHECK(is_error_csv(errors, ','));
  CsvReader reader(errors, {});
  CHECK(reader.next()->fields[4] == "reason");
  auto first = reader.next();
  CHECK(first->fields[0] == "2");
  CHECK(first->fields[2] == "Date");
  CHECK(first->fields[9] == "Ann, \"B\"");
  auto second = reader.next();
  CHECK(second->fields[3] == "An\\xe9");
  CHECK(second->fields[9] == "An\\xe9");
  auto mended = errors;
  mended.replace(mended.find("yesterday", mended.find("A-1")), 9, "1/2/2017");
  auto again = plan_of(mended);
  REQUIRE(again);
  CHECK(again->steps[1].size() == 1);
}

TEST_CASE("the address of a branch is checked", "[import]") {
  for (const char* good :
       {"http://127.0.0.1:7440", "http://east.example:7440/", "http://[::1]:7440"})
    CHECK_FALSE(base_url_problem(good));
  for (const char* bad :
       {"", "127.0.0.1:7440", "http://127.0.0.1", "http://:7440", "http://a:0", "http://a:70000",
        "http://a:7440/api", "ftp://a:7440", "https://a:7440"}) {
    INFO(bad);
    CHECK(base_url_problem(bad));
  }
}

TEST_CASE("the error file of an earlier run is never lost", "[import]") {
  std::string pattern =
      (std::filesystem::temp_directory_path() / "branchline-import-XXXXXX").string();
  REQUIRE(mkdtemp(pattern.data()));
  std::filesystem::path folder = pattern;
  std::string path = (folder / "file.csv.errors.csv").string();
  auto read = [](const std::string& file) {
    std::ifstream in(file, std::ios::binary);
    return std::string{std::istreambuf_iterator<char>(in), {}};
  };
  const std::string first = "row,line,column,value,reason,Id\r\n2,2,Id,x,bad,x\r\n",
                    second = first + "3,3,Id,y,bad,y\r\n";
  CHECK(put_error_file(path, "", ',') == "");
  CHECK_FALSE(std::filesystem::exists(path));
  CHECK(put_error_file(path, first, ',') == "");
  CHECK(put_error_file(path, first, ',') == "");
  CHECK(put_error_file(path, second, ',') == path + ".1");
  CHECK(read(path) == second);
  CHECK(read(path + ".1") == first);
  CHECK(put_error_file(path, "", ',') == path + ".2");
  CHECK(read(path + ".2") == second);
  CHECK_FALSE(std::filesystem::exists(path));
  // What is no error file stays where it is, until an error file needs its name.
  std::ofstream(path) << "mine";
  CHECK(put_error_file(path, "", ',') == "");
  CHECK(read(path) == "mine");
  CHECK(put_error_file(path, first, ',') == path + ".3");
  CHECK(read(path + ".3") == "mine");
  CHECK(read(path) == first);
  CHECK_FALSE(put_error_file((folder / "none" / "errors.csv").string(), first, ','));
  std::filesystem::remove_all(folder);
}

}  // namespace branchline::import
