#include "common/schema/index_key.h"
#include "common/store/mem_store.h"
#include "replication/merge/arrival.h"
#include "replication/merge/effects.h"
#include "replication/merge/element.h"
#include "tests/golden/formats.h"
#include "tests/support/samples.h"

namespace branchline::golden {
namespace {

using namespace samples;

std::unexpected<Error> bad(const char* what) {
  return fail(ErrorKind::corrupt, "golden.refused", what);
}

template <typename Put>
std::string bytes_of(Put put) {
  std::string out;
  Writer w(out);
  put(w);
  return out;
}

Format values_format() {
  Format f{"values", 1, "docs/formats.md, Values", {}};
  for (const Value& v : values()) {
    // A type byte before it, as everywhere that a value stands.
    std::string bytes = bytes_of([&](Writer& w) {
      w.u8(static_cast<uint8_t>(v.type));
      w.bytes(v.payload);
    });
    bool open = v.type == ValueType::text || v.type == ValueType::local_time ||
                v.type == ValueType::phone || v.type == ValueType::email ||
                v.type == ValueType::url || v.type == ValueType::external_id ||
                v.type == ValueType::blob;
    f.cases.push_back({std::string(to_string(v.type)), bytes,
                       [](std::string_view in) -> Result<std::string> {
                         Reader r(in);
                         Value value{static_cast<ValueType>(r.u8()), r.rest()};
                         if (!r.ok() || !valid(value)) return bad("value");
                         std::string out(in.substr(0, 1));
                         switch (value.type) {
                           case ValueType::integer:
                           case ValueType::date:
                           case ValueType::instant:
                           case ValueType::duration:
                           case ValueType::option:
                             return out + encode_integer(decode_integer(value.payload));
                           case ValueType::decimal:
                             return out + encode_decimal(decode_decimal(value.payload));
                           case ValueType::money:
                             return out + encode_money(decode_money(value.payload));
                           case ValueType::boolean:
                             return out + encode_boolean(decode_boolean(value.payload));
                           case ValueType::lookup:
                             return out + encode_lookup(decode_lookup(value.payload));
                           case ValueType::row:
                             return out + encode_row(decode_row(value.payload));
                           default:
                             return out + std::string(value.payload);
                         }
                       },
                       open});
  }
  return f;
}

Format record_format() {
  auto recode = [](RecordKey key) {
    return [key](std::string_view in) -> Result<std::string> {
      BL_ASSIGN(auto record, Record::decode(key, std::string(in)));
      record_sum(record);
      record.last_version();
      return record.encode();
    };
  };
  Format f{"record", 1, "docs/formats.md, Record", {}};
  for (const auto& [name, r] : {std::pair("live", record()), std::pair("redirect", redirect()),
                                std::pair("api_token", api_token()), std::pair("user", user())}) {
    f.cases.push_back({name, r.encode(), recode(r.key())});
  }
  Record tombstone = user();
  tombstone.set_state(RecordState::tombstone, version());
  f.cases.push_back({"tombstone", tombstone.encode(), recode(tombstone.key())});
  return f;
}

Format element_format() {
  Element e = Element::make(other_version(), values()[1]);
  return {"element",
          1,
          "docs/formats.md, Element",
          {{"element", encode_element(e),
            [](std::string_view in) -> Result<std::string> {
              BL_ASSIGN(auto element, decode_element(in));
              return encode_element(element);
            },
            true}}};
}

Format mutation_format() {
  auto recode = [](std::string_view in) -> Result<std::string> {
    Reader r(in);
    BL_ASSIGN(auto m, get_mutation(r));
    if (!r.done()) return bad("bytes left over");
    return bytes_of([&](Writer& w) { put_mutation(w, m); });
  };
  Format f{"mutation", 1, "docs/formats.md, Mutation", {}};
  f.cases.push_back(
      {"every_field", bytes_of([](Writer& w) { put_mutation(w, mutation()); }), recode});
  f.cases.push_back(
      {"keyed_create", bytes_of([](Writer& w) { put_mutation(w, next_mutation()); }), recode});
  f.cases.push_back(
      {"escrow", bytes_of([](Writer& w) { put_mutation(w, escrow_mutation()); }), recode});
  return f;
}

// An image is taken from a workspace and put into one; parts are about as large as asked for.
Format arrival_format() {
  RecordKey key = user().key();
  Format f{"arrival", 1, "docs/formats.md, Arrival", {}};
  MemStore store;
  Workspace ws(store, Schema::built_in(), {});
  ws.begin();
  Arena arena;
  Record* record = *ws.install(user());
  for (uint32_t index : {2u, 3u}) {
    auto ok = ws.put_element(*record, FieldId(38), {other_version().id, index},
                             Element::make(other_version(), values()[1]));
    if (!ok) return f;
  }
  auto made = images_of(ws, key, 1, arena);
  if (!made || made->size() != 2) return f;
  auto recode = [key](bool further) {
    return [key, further](std::string_view in) -> Result<std::string> {
      MemStore empty;
      Workspace other(empty, Schema::built_in(), {});
      other.begin();
      if (further) BL_TRY(other.install(user()));
      RecordOp op;
      op.record = key;
      op.image = in;
      BL_TRY(apply_arrival(other, op));
      Arena kept;
      BL_ASSIGN(auto out, images_of(other, key, 1 << 20, kept));
      std::string_view image = out.at(0).image;
      if (!further) return std::string(image);
      // Beside the elements the record's row: it was there before.
      Reader r(image.substr(2));
      r.blob();
      return "\x01\x02" + std::string(r.rest());
    };
  };
  f.cases.push_back({"first", std::string((*made)[0].image), recode(false)});
  f.cases.push_back({"further", std::string((*made)[1].image), recode(true)});
  return f;
}

// What is computed rather than decoded.
Format digests_format() {
  Format f{"digests", 1, "docs/formats.md, Digests", {}};
  auto add = [&](const char* name, std::string_view bytes) {
    f.cases.push_back({name, std::string(bytes), nullptr});
  };
  MutationHasher hasher(salt_key(), Lane::bulk);
  Mutation m = next_mutation();
  Digest of_mutation = hasher.digest(m);
  Digest start = chain_start(stream_of(m.id));
  Sha256 sha;
  add("chain_start", start.view());
  add("salt_epoch_key", salt_epoch_key(salt_key(), Lane::bulk, 0).view());
  add("mutation", of_mutation.view());
  add("mutation_of_every_field", hasher.digest(mutation()).view());
  add("chain_next", chain_next(start, of_mutation).view());
  add("keyed_record_id", m.ops[0].record.id.view());
  add("line_start", line_start(master_state().line).view());
  add("commit", commit_digest(sha, salt_key(), next_commit()).view());
  add("batch_chain", batch_chain(digest(0x10), batch_header()).view());
  std::string forecast;
  put_forecast(forecast, next_commit().hlc, next_commit().effects);
  add("forecast", forecast);
  auto sum = [&](const char* name, const Sum128& s) {
    add(name, bytes_of([&](Writer& w) {
          w.fixed64(s.high);
          w.fixed64(s.low);
        }));
  };
  sum("sum_of_user", record_sum(user()));
  sum("sum_of_element",
      element_term(record().key(), FieldId(38), {other_version().id, 2}, values()[1]));
  return f;
}

// Numbers only: texts are ICU's (tests/unit/index_key_test.cc compares their order).
Format index_format() {
  Format f{"index_values", 1, "common/store/KEYSPACE.md, Index values", {}};
  for (const Value& v : values()) {
    bool text = v.type == ValueType::text || v.type == ValueType::phone ||
                v.type == ValueType::email || v.type == ValueType::url ||
                v.type == ValueType::external_id || v.type == ValueType::blob ||
                v.type == ValueType::row;
    if (text) continue;
    std::string key;
    put_index_value(key, v);
    f.cases.push_back({std::string(to_string(v.type)), key, nullptr});
  }
  return f;
}

}  // namespace

std::vector<Format> record_formats() {
  return {values_format(),  record_format(),  element_format(), mutation_format(),
          arrival_format(), digests_format(), index_format()};
}

}  // namespace branchline::golden
