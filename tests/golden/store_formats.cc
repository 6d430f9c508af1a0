#include <fstream>
#include <sstream>

#include "common/store/identity.h"
#include "common/store/keyspace.h"
#include "replication/merge/undo.h"
#include "tests/golden/formats.h"
#include "tests/support/samples.h"
#include "tests/support/temp_folder.h"

namespace branchline::golden {
namespace {

using namespace samples;

std::unexpected<Error> bad(const char* what) {
  return fail(ErrorKind::corrupt, "golden.refused", what);
}

Format keyspace_format() {
  RecordKey key{EntityId(1), record_id(1)};
  ElementKey element{other_version().id, 2};
  MutationId id = mutation_id();
  Csn last(1279);
  Format f{"keyspace", 1, "common/store/KEYSPACE.md", {}};
  auto add = [&](const char* name, std::string bytes, Recode recode = nullptr) {
    f.cases.push_back({name, std::move(bytes), std::move(recode)});
  };
  add("records", keys::record(1, key), [](std::string_view in) -> Result<std::string> {
    auto k = keys::parse_record(in);
    if (!k) return bad("record key");
    return keys::record(static_cast<uint8_t>(in[0]), *k);
  });
  add("elements", keys::element(1, key, FieldId(38), element),
      [](std::string_view in) -> Result<std::string> {
        auto k = keys::parse_element(in);
        if (!k) return bad("element key");
        return keys::element(static_cast<uint8_t>(in[0]), k->record, k->field, k->key);
      });
  std::string index = keys::index_prefix(1, EntityId(1), 5);
  index += "VALUES";
  Writer(index).id(key.id);
  add("index", index);
  add("index.group", keys::group_member(1, id, key));
  add("index.deleted_child", keys::deleted_child(1, key, {EntityId(2), record_id(2)}));
  add("outbox", keys::outbox(1, {2, Order(11)}), [](std::string_view in) -> Result<std::string> {
    auto k = keys::parse_outbox(in);
    if (!k) return bad("outbox key");
    return keys::outbox(static_cast<uint8_t>(in[0]), *k);
  });
  add("outbox, bulk", keys::outbox(1, outbox_last()),
      [](std::string_view in) -> Result<std::string> {
        auto k = keys::parse_outbox(in);
        if (!k) return bad("outbox key");
        return keys::outbox(static_cast<uint8_t>(in[0]), *k);
      });
  add("fates", keys::fate(id), [](std::string_view in) -> Result<std::string> {
    auto k = keys::parse_fate(in);
    if (!k) return bad("fate key");
    return keys::fate(*k);
  });
  add("line.batch", keys::line_batch(last));
  add("line.effects", keys::line_effects(last, TerritoryId(3), OriginId(3), true));
  add("line.arrivals", keys::line_arrivals(last, TerritoryId(3), OriginId(3), true, 2));
  add("line.fates", keys::line_fates(last, OriginId(3)));
  add("line.rejected", keys::line_rejected(last));
  add("keys", keys::operation_key(raw_id(0xaa), "import-7"));
  add("meta.identity", keys::meta_identity());
  add("meta.state", keys::meta_state());
  add("meta.incarnation", keys::meta_incarnation(2));
  add("meta.known_incarnation", keys::meta_known_incarnation(OriginId(3), id.incarnation));
  add("meta.stream", keys::meta_stream(stream_of(id)));
  add("meta.origin", keys::meta_origin(OriginId(3)));
  add("meta.collation", keys::meta_collation(1));
  add("meta.program", keys::meta_program(OriginId(3)));
  add("meta.join", keys::meta_join());
  add("meta.compact", keys::meta_compact());
  add("meta.trim", keys::meta_trim());
  add("meta.trimmed_fates", keys::meta_trimmed_fates(stream_of(id)));
  add("meta.branch", keys::meta_branch(OriginId(3)));
  return f;
}

Recode outbox_recode() {
  return [](std::string_view in) -> Result<std::string> {
    BL_ASSIGN(auto block, decode_outbox_block(outbox_last(), std::string(in)));
    for (const auto& e : block.entries) {
      // What a replay would read next; damage there is found there.
      (void)undo_records(e.undo);
      (void)decode_effects(e.original);
    }
    return encode_outbox_block(block);
  };
}

std::string anchor_bytes(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::stringstream text;
  text << in.rdbuf();
  return text.str();
}

Format anchor_format() {
  TempFolder folder;
  std::string path = folder / "anchor";
  auto ok = write_anchor(path, anchor());
  return {"anchor",
          1,
          "docs/formats.md, Anchor",
          {{"anchor", ok ? anchor_bytes(path) : "", [](std::string_view in) -> Result<std::string> {
              TempFolder here;
              std::string file = here / "anchor";
              std::ofstream(file, std::ios::binary) << in;
              BL_ASSIGN(auto a, read_anchor(file));
              if (!a) return bad("no anchor");
              BL_TRY(write_anchor(file, *a));
              return anchor_bytes(file);
            }}}};
}

// An undo journal is taken from a workspace; here are only its readers.
Recode undo_recode() {
  return [](std::string_view in) -> Result<std::string> {
    BL_ASSIGN(auto records, undo_records(in));
    return std::string(in);
  };
}

}  // namespace

std::vector<Format> store_formats() {
  std::vector<Format> all;
  all.push_back(keyspace_format());
  all.push_back({"identity",
                 static_cast<int>(kStoreFormat),
                 "docs/formats.md, The store's format",
                 {{"branch", store_identity(StoreRole::branch), nullptr},
                  {"master", store_identity(StoreRole::master), nullptr}}});
  all.push_back({"outbox_block",
                 1,
                 "docs/formats.md, Outbox block",
                 {{"block", encode_outbox_block(outbox_block()), outbox_recode()}}});
  all.push_back(
      {"undo", 1, "docs/formats.md, Pre-images", {{"none", std::string(1, '\0'), undo_recode()}}});
  all.push_back({"branch_rows",
                 2,
                 "docs/formats.md, Rows of a branch",
                 {{"state", encode_replica_state(replica_state()),
                   [](std::string_view in) -> Result<std::string> {
                     BL_ASSIGN(auto s, decode_replica_state(in));
                     return encode_replica_state(s);
                   }},
                  {"key", encode_key_row(key_row()),
                   [](std::string_view in) -> Result<std::string> {
                     BL_ASSIGN(auto row, decode_branch_key_row(in));
                     return encode_key_row(row);
                   }},
                  {"join", encode_seed_row(seed_row()),
                   [](std::string_view in) -> Result<std::string> {
                     BL_ASSIGN(auto row, decode_seed_row(in));
                     return encode_seed_row(row);
                   }},
                  {"history", encode_replica_history(replica_history()),
                   [](std::string_view in) -> Result<std::string> {
                     BL_ASSIGN(auto s, decode_replica_history(in));
                     return encode_replica_history(s);
                   }}}});
  all.push_back({"master_rows",
                 1,
                 "docs/formats.md, Rows of a master",
                 {{"state", encode_master_state(master_state()),
                   [](std::string_view in) -> Result<std::string> {
                     BL_ASSIGN(auto s, decode_master_state(in));
                     return encode_master_state(s);
                   }},
                  {"stream", encode_stream_state(stream_state()),
                   [](std::string_view in) -> Result<std::string> {
                     BL_ASSIGN(auto s, decode_stream_state(in));
                     return encode_stream_state(s);
                   }},
                  {"origin", encode_origin_state(plain_origin_state()),
                   [](std::string_view in) -> Result<std::string> {
                     BL_ASSIGN(auto s, decode_origin_state(in));
                     return encode_origin_state(s);
                   }},
                  {"origin_of_copies", encode_origin_state(origin_state()),
                   [](std::string_view in) -> Result<std::string> {
                     BL_ASSIGN(auto s, decode_origin_state(in));
                     return encode_origin_state(s);
                   }},
                  {"program", encode_program_seen(program_seen()),
                   [](std::string_view in) -> Result<std::string> {
                     BL_ASSIGN(auto s, decode_program_seen(in));
                     return encode_program_seen(s);
                   }},
                  {"trimmed", encode_trim_state(trim_state()),
                   [](std::string_view in) -> Result<std::string> {
                     BL_ASSIGN(auto s, decode_trim_state(in));
                     return encode_trim_state(s);
                   }},
                  {"branch", encode_branch_progress(branch_progress()),
                   [](std::string_view in) -> Result<std::string> {
                     BL_ASSIGN(auto s, decode_branch_progress(in));
                     return encode_branch_progress(s);
                   }},
                  {"reconciling", encode_reconciling(reconciling()),
                   [](std::string_view in) -> Result<std::string> {
                     BL_ASSIGN(auto s, decode_reconciling(in));
                     return encode_reconciling(s);
                   }},
                  {"restored", encode_restored_mark({0x1122334455667788}),
                   [](std::string_view in) -> Result<std::string> {
                     BL_ASSIGN(auto s, decode_restored_mark(in));
                     return encode_restored_mark(s);
                   }},
                  {"key", encode_key_row(mutation_id(), version().hlc),
                   [](std::string_view in) -> Result<std::string> {
                     auto id = decode_key_row(in);
                     if (!id) return bad("key row");
                     // The stamp behind it tells when the row may go; nothing reads it back yet.
                     return encode_key_row(*id, Hlc{Reader(in.substr(in.size() - 8)).fixed64()});
                   }}}});
  all.push_back(anchor_format());
  return all;
}

}  // namespace branchline::golden
