#include "replication/merge/feature_level.h"

#include "common/record/mutation.h"

namespace branchline {

std::optional<BeyondLevel> beyond_level(const Schema& schema, const std::vector<RecordOp>& ops,
                                        uint32_t level) {
  if (level >= kFeatureLevel) return std::nullopt;
  for (const auto& op : ops) {
    if (level_of(op.kind) > level)
      return BeyondLevel{"the operation " + std::string(to_string(op.kind)), level_of(op.kind)};
    const Entity* entity = schema.entity(op.record.entity);
    if (!entity) continue;  // malformed, and told as such
    if (entity->since > level) return BeyondLevel{"the entity " + entity->name, entity->since};
    for (const auto& cell : op.cells) {
      if (level_of(cell.kind) > level) {
        return BeyondLevel{"the operation " + std::string(to_string(cell.kind)) + " on a field",
                           level_of(cell.kind)};
      }
      const Field* field = entity->field(cell.field);
      if (field && field->since > level)
        return BeyondLevel{"the field " + entity->name + "." + field->name, field->since};
    }
  }
  return std::nullopt;
}

RecordKey topology_key() {
  return {entity_id::kTopology, keyed_record_id({}, "topology:topology", 0)};
}

uint32_t level_in(const Schema& schema, const Record& topology) {
  const Field* field = schema.entity(entity_id::kTopology)->field("featurelevel");
  Value v = field ? topology.value(field->id) : Value{};
  return v.is_null() ? kFirstLevel : static_cast<uint32_t>(decode_integer(v.payload));
}

Result<uint32_t> committed_level(Workspace& workspace) {
  BL_ASSIGN(auto found, workspace.find(topology_key()));
  if (!found.record || !found.record->live()) return kFeatureLevel;
  return level_in(workspace.schema(), *found.record);
}

Result<void> check_level(uint32_t level, const std::string& whose) {
  if (level <= kFeatureLevel) return {};
  return fail(ErrorKind::conflict, "feature_level.newer",
              whose + " is at feature level " + std::to_string(level) +
                  ", this program knows levels up to " + std::to_string(kFeatureLevel) +
                  ": start the newer version of Branchline (nothing was changed)");
}

}  // namespace branchline
