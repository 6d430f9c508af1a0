// fuzz_corpus DIRECTORY: writes starting points for each target into DIRECTORY/TARGET.
#include <cstdio>
#include <filesystem>
#include <fstream>

#include "replication/wire/frame.h"
#include "tests/support/samples.h"

using namespace branchline;

// clang-format off
constexpr const char* kBodies[] = {
    R"json({"name":"Acme","creditlimit":12.50,"tags":["a"],"ownerid@odata.bind":"/systemusers(019aaae5-1234-8abc-b1b2-000000000001)"})json",
    R"({"loyaltypoints@Branchline.add":-5,"lastcontacted":"2026-11-22T10:00:00Z","statecode":1,"name":null})",
    R"({"ordernumber":"1","order_details":[{"quantity":2,"priceperunit":1e2}],"Branchline.territory":"east"})",
    R"({"subject":"Call","notetext":"x","scheduledend":"2026-11-22"})",
    R"({"value":"12"})",
};
constexpr const char* kTopologies[] = {
    R"(version: 1
name: one
sites:
  - {name: here, place: "Here", clients: 5}
  - there
territories:
  - all
  - {name: east, parent: all}
links:
  - {from: here, to: there, rtt: 80ms, rate: 20Mbit, price: 0.09}
policies: {max_offline: 30d, restore_window: 35d}
servers:
  - {name: master, site: here, kind: master, link: "127.0.0.1:7400", admin: "[::1]:7401"}
  - name: office
    site: there
    kind: branch
    upstream: master
    territories: [east]
    http: "127.0.0.1:7410"
    admin: "127.0.0.1:7411"
    dial: "wan.example:7433"
)",
    R"({version: 1, name: two, sites: [{name: s}], territories: [t], servers: [{name: m, site: s, kind: master, link: "h:1", admin: "h:2"}, {name: b, site: s, kind: branch, upstream: m, territories: all, http: "h:3", admin: "h:4"}]})",
};
// clang-format on

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: fuzz_corpus DIRECTORY\n");
    return 2;
  }
  int count = 0;
  auto write = [&](const char* target, std::string_view bytes) {
    auto folder = std::filesystem::path(argv[1]) / target;
    std::filesystem::create_directories(folder);
    std::ofstream(folder / std::to_string(count++), std::ios::binary) << bytes;
  };
  auto frame = [&](FrameType type, const std::string& payload) {
    write("frames", encode_frame(type, payload));
  };
  frame(FrameType::hello, encode_hello(samples::introduction(), 1));
  frame(FrameType::welcome, encode_welcome(samples::registration(), 1));
  frame(FrameType::refused, encode_refused({ErrorKind::conflict, "code", "message"}));
  frame(FrameType::heartbeat, encode_heartbeat({1, 2, 3, Csn(4), Csn(5), 6, 7}));
  frame(FrameType::ack, encode_ack({{OriginId(0), Incarnation(1), Lane::bulk}, Seq(2)}));
  frame(FrameType::progress, encode_progress({Csn(1), 2}));
  FeedRange range = samples::feed_range();
  range.blocks = {std::string(1, '\0') + samples::commit_block()};
  frame(FrameType::feed, encode_feed(range).front());
  frame(FrameType::snapshot_head, encode_snapshot_head(samples::snapshot_head()));
  frame(FrameType::snapshot_end, encode_snapshot_end(samples::snapshot_end()));
  std::string chunk("\0\0", 2), record = samples::record().encode();
  Writer w(chunk);
  w.u8(static_cast<uint8_t>(Table::records));
  w.blob(keys::record(0, samples::record().key()).substr(1));
  w.blob(record);
  frame(FrameType::snapshot_chunk, chunk);
  write("mutation_block", samples::mutation_block());
  write("commit_block", samples::commit_block());
  write("records", samples::record().encode());
  for (const char* body : kBodies) write("json_body", body);
  for (const char* filter :
       {"name eq 'O''Neill'", "creditlimit gt 12.5 and not (contains(name,'ac') or name eq null)",
        "name in ('a','b') or numberofemployees le 7", "lastcontacted ge 2026-11-22T10:00:00Z",
        "statecode ne 1", "accountid eq 019aaae5-1234-8abc-b1b2-000000000001",
        "_ownerid_value eq 019aaae5-1234-8abc-b1b2-000000000001", "createdon lt modifiedon",
        "startswith(name,'') and endswith(address1_city,'x')"}) {
    write("filter", filter);
  }
  for (const char* topology : kTopologies) write("topology", topology);
  for (const char* csv :
       {",id,name,amount,last,count,parent\r\n1,Ann Lee,\"1,5\",1/31/2017,3,\r\n2,\"B "
        "\"\"C\"\"\",7,,,1\r\n",
        ";id;name;amount;last;count;parent\n1;\"two\nlines\";5;2/3/"
        "2020;2;9\n\n1;other;6;;1;\n\"open;x\n",
        ",\xEF\xBB\xBFid,name,amount,last,count,parent\rx,M\xFCller,1,13/1/2017,2,x\r"}) {
    write("csv", csv);
  }
  return 0;
}
