// Entity sets without records of their own, shown to queries as records: notes (elements of
// `append` fields) and fates (what became of this server's mutations, where there is more to say
// than "applied").
#pragma once

#include <functional>

#include "branch/crm/expression.h"
#include "branch/crm/reader.h"

namespace branchline {

// Visits in order of id until `visit` returns false. Conditions that narrow the walk (a note's
// object) are used; the caller still has to check the filter.
Result<void> for_each_virtual(const ReadContext& context, const Entity& entity,
                              const Expression& filter, const std::function<bool(Record&&)>& visit);

// Where a note is kept.
struct NotePlace {
  RecordKey record;
  FieldId field;
  ElementKey key;
};
Result<std::optional<NotePlace>> find_note(const ReadContext& context, const RecordId& note);

// "east.4f3a9c01d2e4b8a7.interactive.42"
std::string mutation_text(const MutationId& id, const std::string& server);
// Nothing if it is no such text; the server's name is returned beside the rest.
struct ParsedMutationText {
  std::string server;
  MutationId id;  // without origin
};
std::optional<ParsedMutationText> parse_mutation_text(std::string_view text);

}  // namespace branchline
