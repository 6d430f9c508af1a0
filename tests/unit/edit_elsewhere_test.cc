// SEMANTICS 6, 28: whose edits of records beyond its territories a branch may bring.
#include <catch2/catch.hpp>

#include "tests/support/small_world.h"

namespace branchline {
namespace {

class EditElsewhere : public Command {
 public:
  EditElsewhere(RecordKey record, Csn seen) : record_(record), seen_(seen) {}
  Result<Draft> prepare(Workspace&, RecordIdMaker&, int64_t) override {
    Draft draft;
    RecordOp& op = draft.ops.emplace_back();
    op.record = record_;
    op.seen = seen_;
    FieldId name = Schema::built_in()->entity(entity_id::kAccount)->field("name")->id;
    op.cells.push_back({name, CellOpKind::set, {ValueType::text, "Edited"}, {}});
    return draft;
  }

 private:
  RecordKey record_;
  Csn seen_;
};

// An account of the west, which east does not hold, and an edit of it that east accepts in the name
// of somebody whose token is good there.
struct Beyond : SmallWorld {
  MutationId edit(bool read_first = true) {
    SmallOffice& east = (*this)["east"];
    EditElsewhere command(names.key("w"), read_first ? master.ingest->state().head : Csn(0));
    command.author = user;
    command.credential = (*this)["hq"].credential;
    auto group = east.replica->accept({&command});
    REQUIRE(group);
    REQUIRE(group->results[0]);
    REQUIRE(east.store.write(group->batch, Sync::yes));
    if (read_first) CHECK(group->changes.records.empty());  // nothing here has changed
    return group->results[0]->id;
  }
  void shown() {
    Batch rows;
    master.ingest->note_shown((*this)["east"].replica->state().self, (*this)["hq"].credential,
                              rows);
    REQUIRE(master.store.write(rows, Sync::yes));
  }
  Beyond() {
    REQUIRE((*this)["hq"].write("create account w @west name=Far") == "ok");
    settle();
  }
};

}  // namespace

TEST_CASE("SEMANTICS 28: a branch speaks beyond its territories for nobody who was not there",
          "[elsewhere]") {
  Beyond w;
  MutationId edit = w.edit();
  w.settle();
  CHECK(w["east"].fate_of(edit).starts_with("rejected"));
  CHECK(w.master.show("w").find("name=Far") != std::string::npos);
  CHECK(w.audit().empty());
}

TEST_CASE("SEMANTICS 6: who read a record through a branch edits it there, its fate comes back",
          "[elsewhere]") {
  Beyond w;
  w.shown();
  MutationId edit = w.edit();
  SECTION("at once") {}
  SECTION("after a crash of the master, before which it was not shipped") {
    w.master.crash();
    w.master.start();
    for (const char* name : {"hq", "east", "west"}) w[name].connect();
  }
  SECTION("after a crash of the office") {
    w["east"].crash();
    w["east"].start();
    w["east"].connect();
  }
  w.settle();
  CHECK(w["east"].fate_of(edit) == "applied");
  CHECK(w.master.show("w").find("name=Edited") != std::string::npos);
  CHECK(w["west"].show("w").find("name=Edited") != std::string::npos);
  CHECK(w["east"].show("w") == "not held");
  CHECK(w.audit().empty());
}

TEST_CASE("SEMANTICS 6: an edit of a record that is elsewhere and that names no read is refused",
          "[elsewhere]") {
  Beyond w;
  w.shown();
  MutationId edit = w.edit(false);
  w.settle();
  CHECK(w["east"].fate_of(edit).starts_with("rejected"));
  CHECK(w.audit().empty());
}

}  // namespace branchline
